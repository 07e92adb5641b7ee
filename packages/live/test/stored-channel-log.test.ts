import { createMemoryStore } from "@holdfast/coordination/memory";
import { systemClock } from "@holdfast/kernel";
import { describe, expect, it, vi } from "vitest";
import { WebSocket } from "ws";
import { BroadcastClient } from "../src/client/index.ts";
import { StoredChannelLog } from "../src/server/index.ts";
import { channelLogSuite } from "../src/testing/channel-log.suite.ts";
import { TestLiveServer } from "../src/testing/index.ts";

channelLogSuite(async () => {
  const store = createMemoryStore({ clock: systemClock });
  const log = new StoredChannelLog({ log: store.log, historyMaxCount: 20 });
  const other = new StoredChannelLog({ log: store.log, historyMaxCount: 20 });
  return {
    log,
    other,
    historyMaxCount: 20,
    until: (condition) => vi.waitFor(() => expect(condition()).toBe(true)),
    [Symbol.asyncDispose]: async () => {
      await log.close();
      await other.close();
      await store.close();
    },
  };
});

describe("StoredChannelLog", () => {
  it("never mixes two prefixes", async () => {
    await using store = createMemoryStore({ clock: systemClock });
    await using shop = new StoredChannelLog({ log: store.log, prefix: "shop" });
    await using admin = new StoredChannelLog({ log: store.log, prefix: "admin" });
    await shop.publish([{ channel: "a", event: "e", payloadText: "{}", id: "1" }]);
    expect((await admin.bounds("a")).head.offset).toBe(0n);
    expect((await store.log.bounds("shop:a")).head.offset).toBe(1n);
  });

  it("carries a client that moves from one server to another without loss or repeat", async () => {
    await using store = createMemoryStore({ clock: systemClock });
    await using first = await TestLiveServer.start({ log: new StoredChannelLog({ log: store.log }) });
    await using second = await TestLiveServer.start({ log: new StoredChannelLog({ log: store.log }) });
    const servers = [first, second];
    let opened = 0;
    const client = new BroadcastClient("ws://balanced", {
      tabs: false,
      reconnectDelay: 5,
      platform: { openSocket: () => new WebSocket(servers[opened++ % 2]?.url ?? "") as never },
    });
    const seen: unknown[] = [];
    const gaps: unknown[] = [];
    client.onGap((gap) => gaps.push(gap));
    client.subscribe("a", ({ payload }) => seen.push(payload["n"]));
    client.connect();
    await client.ready("a");
    await second.live.broadcast("a", "e", { n: 1 });
    await vi.waitFor(() => expect(seen).toEqual([1]));
    for (const n of [2, 4, 6]) {
      (servers[(opened - 1) % 2] as TestLiveServer).cut();
      await first.live.broadcast("a", "e", { n });
      await second.live.broadcast("a", "e", { n: n + 1 });
      await vi.waitFor(() => expect(seen).toEqual(Array.from({ length: n + 1 }, (_, index) => index + 1)));
    }
    expect(gaps).toEqual([]);
    client.disconnect();
    await first.log.close();
    await second.log.close();
  });
});
