// @vitest-environment happy-dom
import { MemoryChannelLog } from "@holdfast/live/server";
import { TestLiveServer } from "@holdfast/live/testing";
import { QueryClient } from "@tanstack/query-core";
import { act, type ReactNode } from "react";
import { createRoot } from "react-dom/client";
import { describe, expect, it, vi } from "vitest";
import { WebSocket } from "ws";
import {
  BroadcastProvider,
  type Invalidation,
  type InvalidationOptions,
  useBroadcastInvalidation,
  useBroadcastState,
} from "../src/index.ts";
import { eventOf, openPage } from "./rendering.tsx";

const KEYS = {
  list: ["order"],
  filtered: ["order", { state: "new" }],
  detail1: ["order", "1"],
  detail2: ["order", 2],
  other: ["customer", "1"],
};

/** A page that watches orders in a real query cache; tells which keys were invalidated. */
const openOrders = async (options: Partial<InvalidationOptions> = {}) => {
  const page = openPage();
  // By default each entry keeps a timer for five minutes, and the process with it.
  const cache = new QueryClient({ defaultOptions: { queries: { gcTime: Number.POSITIVE_INFINITY } } });
  for (const key of Object.values(KEYS)) cache.setQueryData(key, "data");
  let calls = 0;
  const counting = {
    invalidateQueries: (filters: Parameters<QueryClient["invalidateQueries"]>[0]) => {
      calls += 1;
      return cache.invalidateQueries(filters);
    },
  };
  const result: { current?: Invalidation } = {};
  let current: Partial<InvalidationOptions> = options;
  const Orders = (): ReactNode => {
    result.current = useBroadcastInvalidation({
      channel: "order",
      queryKeyPrefix: ["order"],
      cache: counting as never,
      clock: page.clock,
      random: { next: () => 0.5 },
      ...current,
    });
    return <p>{result.current.isStale ? "stale" : "fresh"}</p>;
  };
  await page.render(<Orders />);
  const socket = await page.connect();
  const invalidated = (): readonly string[] => {
    const names = Object.entries(KEYS).filter(([, key]) => cache.getQueryState(key)?.isInvalidated);
    for (const key of Object.values(KEYS)) cache.setQueryData(key, "data");
    return names.map(([name]) => name);
  };
  // What was there before the server took up the channel.
  await page.settle(300);
  const begun = { calls, invalidated: invalidated() };
  calls = 0;
  return {
    ...page,
    begun,
    socket,
    result: result as { readonly current: Invalidation },
    calls: () => calls,
    receive: (...payloads: Record<string, unknown>[]) =>
      act(async () => {
        for (const payload of payloads) socket.receive(eventOf("order", payload));
      }),
    change: async (next: Partial<InvalidationOptions>) => {
      current = next;
      await page.render(<Orders />);
    },
    invalidated,
  };
};

describe("useBroadcastInvalidation", () => {
  it("invalidates all of the prefix once after a cut that was longer than the server's history", async () => {
    await using log = new MemoryChannelLog({ historyMaxCount: 3 });
    await using server = await TestLiveServer.start({ log });
    let calls = 0;
    const cache = {
      invalidateQueries: async () => {
        calls += 1;
      },
    };
    const states: string[] = [];
    const Orders = (): ReactNode => {
      useBroadcastInvalidation({ channel: "order", queryKeyPrefix: ["order"], cache });
      states.push(useBroadcastState());
      return null;
    };
    const root = createRoot(document.createElement("div"));
    const options = {
      webSocket: WebSocket as never,
      tabs: false as const,
      reconnectDelay: 5,
      reconnectDelayMax: 20,
    };
    const until = (condition: () => void) =>
      vi.waitFor(async () => {
        await act(async () => condition());
      });
    await act(async () =>
      root.render(
        <BroadcastProvider url={server.url} options={options}>
          <Orders />
        </BroadcastProvider>,
      ),
    );
    await until(() => expect(calls).toBe(1));
    server.refuse();
    server.cut();
    await until(() => expect(states.at(-1)).toBe("reconnecting"));
    for (let count = 0; count < 9; count += 1)
      await server.live.broadcast("order", "updated", { entity_id: "1" });
    server.refuse(false);
    await until(() => expect(calls).toBe(2));
    expect(server.live.stats()).toMatchObject({ resets: 1, recoveries: 0, eventsOut: 0 });
    await act(async () => root.unmount());
    expect(calls).toBe(2);
  });

  it("refetches once what was fetched before the server took up the channel, and nothing when it comes back", async () => {
    await using orders = await openOrders();
    expect(orders.begun).toEqual({ calls: 1, invalidated: ["list", "filtered", "detail1", "detail2"] });
    orders.socket.fail();
    await orders.settle(2_000);
    await orders.connect();
    await orders.settle(1_000);
    expect(orders.calls()).toBe(0);
  });

  it("refetches also for a form, once, before anything was changed in it", async () => {
    await using orders = await openOrders({ mode: "mark" });
    expect(orders.begun.calls).toBe(1);
    expect(orders.container.textContent).toBe("fresh");
  });

  it("refetches when it is enabled again, for what it did not hear meanwhile", async () => {
    await using orders = await openOrders();
    await orders.change({ enabled: false });
    await orders.change({ enabled: true });
    await act(async () => orders.socket.acknowledge());
    await orders.settle(300);
    expect(orders.calls()).toBe(1);
    expect(orders.invalidated()).toEqual(["list", "filtered", "detail1", "detail2"]);
  });

  it("refetches once what was fetched before it was mounted on a channel that others follow already", async () => {
    await using page = openPage();
    const calls: string[] = [];
    const Watch = ({ name }: { readonly name: string }): ReactNode => {
      useBroadcastInvalidation({
        channel: "order",
        queryKeyPrefix: [name],
        cache: { invalidateQueries: async () => calls.push(name) },
        clock: page.clock,
      });
      return null;
    };
    const show = (...names: string[]) => page.render(names.map((name) => <Watch key={name} name={name} />));
    await show("first");
    const socket = await page.connect();
    await page.settle(300);
    expect(calls).toEqual(["first"]);
    await show("first", "second");
    await page.settle(300);
    expect(calls).toEqual(["first", "second"]);
    expect(socket.sentWith("subscribe")).toHaveLength(1);
    // Also where the channel is only resumed.
    await act(async () => socket.fail());
    await show("first", "second", "third");
    await page.settle(2_000);
    await page.connect();
    await page.settle(300);
    expect(calls).toEqual(["first", "second", "third"]);
  });

  it("refreshes the detail of an event's entity and every list under the prefix, filtered ones too", async () => {
    await using orders = await openOrders();
    await orders.receive({ entity_id: "1" });
    await orders.settle(300);
    expect(orders.invalidated()).toEqual(["list", "filtered", "detail1"]);
    await orders.receive({ entity_id: 2 });
    await orders.settle(300);
    expect(orders.invalidated()).toEqual(["list", "filtered", "detail2"]);
  });

  it("refreshes everything under the prefix for an event without an id", async () => {
    await using orders = await openOrders();
    await orders.receive({});
    await orders.settle(300);
    expect(orders.invalidated()).toEqual(["list", "filtered", "detail1", "detail2"]);
  });

  it("refreshes nothing bound to an entity for an event of another one", async () => {
    await using orders = await openOrders({ entityId: "1", queryKeyPrefix: ["order", "1"] });
    await orders.receive({ entity_id: "2" });
    await orders.settle(300);
    expect(orders.invalidated()).toEqual([]);
    await orders.receive({ entity_id: "1" });
    await orders.settle(300);
    expect(orders.invalidated()).toEqual(["detail1"]);
  });

  it("makes one refetch of 100 events within 50 ms, within 300 ms", async () => {
    await using orders = await openOrders();
    for (let count = 0; count < 50; count += 1) {
      await orders.receive({ entity_id: `${count}` }, { entity_id: "1" });
      await orders.settle(1);
    }
    expect(orders.calls()).toBe(0);
    await orders.settle(250);
    expect(orders.calls()).toBe(1);
    expect(orders.invalidated()).toEqual(["list", "filtered", "detail1", "detail2"]);
  });

  it("invalidates the whole prefix once after a gap", async () => {
    await using orders = await openOrders();
    const position = { epoch: "2", offset: "9" };
    await act(async () =>
      orders.socket.receive({ reset: { channel: "order", reason: "trimmed", position } }),
    );
    await orders.settle(300);
    expect(orders.calls()).toBe(1);
    expect(orders.invalidated()).toEqual(["list", "filtered", "detail1", "detail2"]);
  });

  it("neither subscribes nor refetches while disabled, and can be toggled", async () => {
    await using orders = await openOrders({ enabled: false });
    expect(orders.socket.sentWith("subscribe")).toHaveLength(0);
    await orders.receive({});
    await orders.settle(300);
    expect(orders.calls()).toBe(0);
    await orders.change({ enabled: true });
    expect(orders.socket.sentWith("subscribe")).toHaveLength(1);
    await orders.change({ enabled: false });
    expect(orders.socket.sentWith("unsubscribe")).toHaveLength(1);
  });

  it("refetches nothing once it is disabled, also not what it heard just before, until it is enabled again", async () => {
    await using orders = await openOrders();
    await orders.receive({ entity_id: "1" });
    await orders.change({ enabled: false });
    await orders.settle(1_000);
    expect(orders.calls()).toBe(0);
    await orders.change({ enabled: true });
    await act(async () => orders.socket.acknowledge());
    await orders.settle(300);
    expect(orders.calls()).toBe(1);
  });

  it("only marks what is stale where a form must not change by itself, and refreshes when told", async () => {
    await using orders = await openOrders({ mode: "mark" });
    await orders.receive({ entity_id: "1" });
    await orders.settle(1_000);
    expect(orders.container.textContent).toBe("stale");
    expect(orders.invalidated()).toEqual([]);
    await act(async () => orders.result.current.refresh());
    expect(orders.container.textContent).toBe("fresh");
    expect(orders.invalidated()).toEqual(["list", "filtered", "detail1"]);
  });

  it("refetches nothing for the echo of a mutation made here, and does for a foreign one", async () => {
    const store = {
      handleEvent: ({ origin }: { origin?: { mutation?: string } }) => origin?.mutation === "own",
    };
    await using orders = await openOrders({ store });
    await act(async () => orders.socket.receive(eventOf("order", {}, { origin: { mutation: "own" } })));
    await orders.settle(300);
    expect(orders.calls()).toBe(0);
    await act(async () => orders.socket.receive(eventOf("order", {}, { origin: { mutation: "foreign" } })));
    await orders.settle(300);
    expect(orders.calls()).toBe(1);
  });

  it("does not subscribe again when prefix or cache are new objects, and uses the newest", async () => {
    await using orders = await openOrders();
    for (let count = 0; count < 5; count += 1) await orders.change({ queryKeyPrefix: ["customer"] });
    expect(orders.socket.sentWith("subscribe")).toHaveLength(1);
    await orders.receive({});
    await orders.settle(300);
    expect(orders.invalidated()).toEqual(["other"]);
  });

  it("refetches nothing after it was unmounted", async () => {
    await using orders = await openOrders();
    await orders.receive({});
    await orders.unmount();
    await orders.settle(1_000);
    expect(orders.calls()).toBe(0);
  });

  it("invalidates under the prefix that an event was heard for, also when another is watched by then", async () => {
    await using orders = await openOrders();
    await orders.receive({ entity_id: "1" });
    await orders.change({ queryKeyPrefix: ["customer"] });
    await orders.settle(300);
    expect(orders.invalidated()).toEqual(["list", "filtered", "detail1"]);
    expect(orders.calls()).toBe(1);
  });
});
