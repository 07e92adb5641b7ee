import { VirtualClock } from "@holdfast/kernel/testing";
import { afterEach, describe, expect, it } from "vitest";
import {
  BroadcastClient,
  type BroadcastClientOptions,
  type BroadcastEvent,
  initSharedClient,
  sharedClient,
} from "../src/client/index.ts";
import type { TabChannelLike } from "../src/client/platform.ts";
import { FakeSocket } from "../src/testing/fake-socket.ts";

/** The BroadcastChannels of one browser: every other open one of the same name hears a copy, later. */
const browser = () => {
  const clock = new VirtualClock();
  const open = new Set<{ readonly name: string; readonly channel: TabChannelLike }>();
  const openTabChannel = (name: string): TabChannelLike => {
    const channel: TabChannelLike = {
      onmessage: null,
      postMessage: (message) => {
        const data = structuredClone(message);
        clock.schedule(1, () => {
          for (const other of [...open]) {
            if (other.name === name && other !== entry) other.channel.onmessage?.({ data } as never);
          }
        });
      },
      close: () => open.delete(entry),
    };
    const entry = { name, channel };
    open.add(entry);
    return channel;
  };
  const sockets: FakeSocket[] = [];
  const tab = (options: BroadcastClientOptions = {}) => {
    const client = new BroadcastClient("ws://test", {
      ...options,
      platform: {
        clock,
        openTabChannel,
        onWake: () => () => undefined,
        openSocket: (url) => {
          const socket = new FakeSocket(url);
          sockets.push(socket);
          return socket;
        },
        ...options.platform,
      },
    });
    const events: BroadcastEvent[] = [];
    const errors: string[] = [];
    client.subscribe("order", (event) => events.push(event));
    client.onError((error) => errors.push(error.code));
    client.connect();
    return { client, events, errors };
  };
  return { clock, tab, open, sockets };
};

describe("tabs of one browser", () => {
  it("hear what another tab emits, in the shape of an event, and never their own", async () => {
    const { clock, tab } = browser();
    const [a, b] = [tab(), tab()];
    a.client.emit("order", { type: "created", entity_id: "1" });
    a.client.emit("other", { type: "created" });
    await clock.advance(1);
    expect(a.events).toEqual([]);
    expect(b.events).toMatchObject([
      { channel: "order", event: "created", payload: { entity_id: "1" }, via: "tab" },
    ]);
  });

  it("handle the same event once when it comes by tab and by socket", async () => {
    const { clock, tab, sockets } = browser();
    const [a, b] = [tab(), tab()];
    await clock.advance(0);
    sockets[1]?.welcome();
    await clock.advance(0);
    sockets[1]?.acknowledge();
    a.client.emit("order", { type: "created" });
    await clock.advance(1);
    const id = b.events[0]?.id ?? "";
    const event = { channel: "order", event: "created", payload: {}, id, epoch: "1", offset: "1" };
    sockets[1]?.receive(event);
    sockets[1]?.receive({ ...event, id: "e-2", offset: "2" });
    expect(b.events.map((each) => each.id)).toEqual([id, "e-2"]);
    expect(sockets[1]?.sentWith("subscribe")).toHaveLength(1);
  });

  it("of other users and other applications hear nothing of it", async () => {
    const { clock, tab } = browser();
    const ada = tab({ tabs: { application: "shop", user: "ada" } });
    const others = [
      tab({ tabs: { application: "shop", user: "bob" } }),
      tab({ tabs: { application: "admin", user: "ada" } }),
      tab({ tabs: { application: "shop/ada", user: "" } }),
      tab({ tabs: false }),
      tab(),
    ];
    const same = tab({ tabs: { application: "shop", user: "ada" } });
    ada.client.emit("order", { type: "created" });
    await clock.advance(1);
    expect(others.flatMap(({ events }) => events)).toEqual([]);
    expect(same.events).toHaveLength(1);
  });

  it("do without, in silence, where there is no BroadcastChannel", async () => {
    const { clock, tab } = browser();
    const alone = tab({ platform: { openTabChannel: () => undefined } });
    alone.client.emit("order", { type: "created" });
    await clock.advance(1);
    expect(alone.errors).toEqual([]);
  });

  it("report what cannot be cloned instead of throwing it", () => {
    const { tab } = browser();
    const { client, errors } = tab();
    client.emit("order", { type: "created", callback: () => undefined });
    expect(errors).toEqual(["LIVE_TAB_CHANNEL"]);
  });

  it("are left at a disconnect and joined again at the next connect", async () => {
    const { clock, tab, open } = browser();
    const [a, b] = [tab(), tab()];
    b.client.disconnect();
    expect(open.size).toBe(1);
    a.client.emit("order", { type: "unheard" });
    await clock.advance(1);
    b.client.connect();
    a.client.emit("order", { type: "heard" });
    await clock.advance(1);
    expect(b.events.map(({ event }) => event)).toEqual(["heard"]);
  });
});

describe("the shared client", () => {
  afterEach(() => sharedClient().disconnect());

  it("is not there before it was made, and a second one disconnects the first", () => {
    expect(() => sharedClient()).toThrow("initSharedClient");
    const platform = { openSocket: (url: string) => new FakeSocket(url), clock: new VirtualClock() };
    const first = initSharedClient("ws://one", { platform, tabs: false });
    expect([first.state, sharedClient()]).toEqual(["connecting", first]);
    const second = initSharedClient("ws://two", { platform, tabs: false });
    expect([first.state, second.state, sharedClient()]).toEqual(["disconnected", "connecting", second]);
  });
});
