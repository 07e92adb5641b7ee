import { describe, expect, it, vi } from "vitest";
import { WebSocket } from "ws";
import { BroadcastClient, type Change, OptimisticStore, type SendContext } from "../src/client/index.ts";
import type { TestLiveServer } from "../src/testing/index.ts";

interface Order {
  readonly id: string;
  readonly item: string;
}

const LIST = ["order"];
const mutators = {
  create: (order: Order): readonly Change[] => [
    {
      key: LIST,
      apply: (value) => [...((value ?? []) as Order[]).filter(({ id }) => id !== order.id), order],
    },
  ],
};

/** The shop: its rows are the only truth, and every change is broadcast after it was saved. */
class Shop {
  rows: readonly Order[] = [];
  fetchCount = 0;
  isDown = false;
  readonly #server: TestLiveServer;

  constructor(server: TestLiveServer) {
    this.#server = server;
  }

  async create(order: Order, client: string, { mutation }: SendContext): Promise<Order> {
    if (this.isDown) throw new Error("the shop is down");
    const saved = { ...order, id: `server-${this.rows.length + 1}` };
    this.rows = [...this.rows, saved];
    await this.#server.live.announce(
      "order",
      "created",
      { entity_id: saved.id },
      { origin: { client, mutation } },
    );
    return saved;
  }

  async fetch(): Promise<readonly Order[]> {
    this.fetchCount += 1;
    return this.rows;
  }
}

/** One browser tab: a client and a store, refetching what others changed. */
const openTab = async (server: TestLiveServer, shop: Shop, application: string) => {
  const client = new BroadcastClient(server.url, {
    webSocket: WebSocket as never,
    reconnectDelay: 5,
    reconnectDelayMax: 20,
    tabs: { application },
  });
  const store = new OptimisticStore({ mutators, tabs: client });
  const rowCounts: number[] = [];
  const rows = (): readonly Order[] => (store.value(LIST) ?? []) as readonly Order[];
  const refetch = async (): Promise<void> => {
    const fetch = store.beginRefetch(LIST);
    fetch.complete(await shop.fetch());
  };
  store.subscribe(LIST, () => rowCounts.push(rows().length));
  client.subscribe("order", (event) => {
    if (!store.handleEvent(event)) void refetch();
  });
  client.onGap(() => void refetch());
  client.connect();
  await client.ready("order");
  await refetch();
  const create = (item: string) =>
    store.mutate(
      "create",
      { id: `temporary-${item}`, item },
      {
        send: (context, order) => shop.create(order, client.id, context),
        reconcile: (saved) => saved,
      },
    );
  return {
    client,
    store,
    rows,
    rowCounts,
    create,
    items: () => rows().map(({ item }) => item),
    [Symbol.dispose]: () => {
      store[Symbol.dispose]();
      client.disconnect();
    },
  };
};

/** The four scenarios over real sockets, on the server that `start` gives. */
export const scenariosSuite = (start: () => Promise<TestLiveServer>): void => {
  describe("the four scenarios, over real sockets", () => {
    it("1: one client sees its order at once, one row throughout, and fetches nothing for its echo", async () => {
      await using server = await start();
      const shop = new Shop(server);
      using tab = await openTab(server, shop, "s1");
      const { done } = tab.create("tea");
      expect(tab.items()).toEqual(["tea"]);
      await done;
      await vi.waitFor(() => expect(tab.store.pendingCount).toBe(0));
      expect(tab.rows()).toEqual([{ id: "server-1", item: "tea" }]);
      expect(Math.max(...tab.rowCounts)).toBe(1);
      expect(shop.fetchCount).toBe(1);
    });

    it("2: a second client gets the event, refetches, and both hold each order once", async () => {
      await using server = await start();
      const shop = new Shop(server);
      using a = await openTab(server, shop, "s2a");
      using b = await openTab(server, shop, "s2b");
      await a.create("tea").done;
      await b.create("milk").done;
      await vi.waitFor(() => {
        expect(a.items()).toEqual(["tea", "milk"]);
        expect(b.rows()).toEqual(a.rows());
        expect([a.store.pendingCount, b.store.pendingCount]).toEqual([0, 0]);
      });
    });

    it("3: a second tab shows the order without waiting for the server, and both take it back on failure", async () => {
      await using server = await start();
      const shop = new Shop(server);
      using one = await openTab(server, shop, "s3");
      using two = await openTab(server, shop, "s3");
      let fail: (() => void) | undefined;
      const { done } = one.store.mutate(
        "create",
        { id: "x", item: "tea" },
        {
          send: () =>
            new Promise<never>((_resolve, reject) => {
              fail = () => reject(new Error("the shop is down"));
            }),
        },
      );
      await vi.waitFor(() => expect(two.items()).toEqual(["tea"]));
      fail?.();
      await expect(done).rejects.toThrow("down");
      await vi.waitFor(() => expect([one.items(), two.items()]).toEqual([[], []]));
    });

    it("4: after a cut by the server all channels come back, and what was sent meanwhile arrives once", async () => {
      await using server = await start();
      const shop = new Shop(server);
      using a = await openTab(server, shop, "s4");
      const seen: string[] = [];
      const states: string[] = [];
      a.client.onStateChange((state) => states.push(state));
      a.client.subscribe("order", ({ payload }) => seen.push(String(payload["entity_id"])));
      a.client.subscribe("note", ({ event }) => seen.push(event));
      await a.client.ready("note");
      server.refuse();
      server.cut();
      await vi.waitFor(() => expect(a.client.state).toBe("reconnecting"));
      await shop.create({ id: "x", item: "tea" }, "other", { mutation: "foreign" });
      await server.live.broadcast("note", "added");
      server.refuse(false);
      await vi.waitFor(() => expect([...seen].sort()).toEqual(["added", "server-1"]));
      await vi.waitFor(() => expect(a.items()).toEqual(["tea"]));
      expect(states.at(-1)).toBe("connected");
      expect(new Set(states)).toEqual(new Set(["reconnecting", "connected"]));
    });
  });
};
