import { createRedisStore, type RedisClient } from "@holdfast/coordination/redis";
import { type RedisServer, startRedis } from "@holdfast/testkit";
import { describeService } from "@holdfast/testkit/vitest";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import { WebSocket } from "ws";
import { BroadcastClient } from "../src/client/index.ts";
import { StoredChannelLog } from "../src/server/index.ts";
import { channelLogSuite } from "../src/testing/channel-log.suite.ts";
import { TestLiveServer } from "../src/testing/index.ts";
import { openRedis } from "./redis-client.ts";
import { scenariosSuite } from "./scenarios.suite.ts";

describeService("redis", "channels on Redis", () => {
  let server: RedisServer;
  let redis: RedisClient & AsyncDisposable;
  let count = 0;
  beforeAll(async () => {
    server = await startRedis({ settings: { appendonly: "yes", appendfsync: "always" } });
    redis = await openRedis(server.url);
  });
  afterAll(async () => {
    await redis?.[Symbol.asyncDispose]();
    await server?.[Symbol.asyncDispose]();
  });

  /** Two logs, as two servers have them: each with its own store over the same Redis. */
  const twoLogs = async (historyMaxCount?: number) => {
    count += 1;
    const namespace = `live-${count}`;
    const options = historyMaxCount === undefined ? {} : { historyMaxCount };
    const stores = [
      await createRedisStore({ redis, namespace }),
      await createRedisStore({ redis, namespace }),
    ];
    const [log, other] = stores.map(
      (store) => new StoredChannelLog({ log: store.log, prefix: "test_integration", ...options }),
    );
    if (log === undefined || other === undefined) throw new Error("two stores make two logs");
    return {
      log,
      other,
      namespace,
      async [Symbol.asyncDispose]() {
        for (const each of [log, other]) await each.close();
        for (const store of stores) await store.close();
      },
    };
  };

  channelLogSuite(async () => {
    const logs = await twoLogs(20);
    return {
      ...logs,
      historyMaxCount: 20,
      until: (condition) => vi.waitFor(() => expect(condition()).toBe(true), { timeout: 30_000 }),
    };
  });

  scenariosSuite(async () => {
    const { log, [Symbol.asyncDispose]: closeLogs } = await twoLogs();
    const live = await TestLiveServer.start({ log });
    const close = live.close.bind(live);
    live.close = async () => {
      await close();
      await closeLogs();
    };
    return live;
  });

  const follow = async (live: TestLiveServer) => {
    const client = new BroadcastClient(live.url, {
      webSocket: WebSocket as never,
      tabs: false,
      reconnectDelay: 5,
    });
    const seen: unknown[] = [];
    const gaps: unknown[] = [];
    client.onGap((gap) => gaps.push(gap));
    client.subscribe("a", ({ payload }) => seen.push(payload["n"]));
    client.connect();
    await client.ready("a");
    return { client, seen, gaps, [Symbol.dispose]: () => client.disconnect() };
  };

  describe("two servers over one Redis", () => {
    it("bring an event published on either to the clients of both, once each", async () => {
      await using logs = await twoLogs();
      await using a = await TestLiveServer.start({ log: logs.log });
      await using b = await TestLiveServer.start({ log: logs.other });
      using onA = await follow(a);
      using onB = await follow(b);
      await a.live.broadcast("a", "e", { n: 1 });
      await b.live.broadcast("a", "e", { n: 2 });
      await a.live.broadcast("a", "e", { n: 3 });
      for (const { seen } of [onA, onB]) await vi.waitFor(() => expect(seen).toEqual([1, 2, 3]));
      expect([a, b].map(({ live }) => live.stats().eventsOut)).toEqual([3, 3]);
    });

    it("write under the prefix, and do not hear another one", async () => {
      await using logs = await twoLogs();
      const foreign = new StoredChannelLog({
        log: (await createRedisStore({ redis, namespace: logs.namespace })).log,
        prefix: "other",
      });
      await using a = await TestLiveServer.start({ log: logs.log });
      using reader = await follow(a);
      await foreign.publish([{ channel: "a", event: "e", payloadText: '{"n":"foreign"}', id: "f" }]);
      await a.live.broadcast("a", "e", { n: "own" });
      await vi.waitFor(() => expect(reader.seen).toEqual(["own"]));
      const keys = (await server.command("KEYS", `*${logs.namespace}*log:*`)) as string[];
      expect(keys.map((key) => key.replace(/^.*log:/, "")).sort()).toEqual(["other:a", "test_integration:a"]);
      await foreign.close();
    });

    it("cost Redis one script for each publish, the wake-up of all readers included", async () => {
      const scripts: string[] = [];
      const counting: RedisClient = {
        subscribe: (...args) => redis.subscribe(...args),
        runScript: (script, keys, args, options) => {
          scripts.push(script.name);
          return redis.runScript(script, keys, args, options);
        },
      };
      await using logs = await twoLogs();
      const store = await createRedisStore({ redis: counting, namespace: logs.namespace });
      await using publisher = new StoredChannelLog({ log: store.log, prefix: "test_integration" });
      await using a = await TestLiveServer.start({ log: logs.log });
      using reader = await follow(a);
      for (let n = 1; n <= 3; n += 1)
        await publisher.publish([{ channel: "a", event: "e", payloadText: `{"n":${n}}`, id: `e-${n}` }]);
      await vi.waitFor(() => expect(reader.seen).toEqual([1, 2, 3]));
      // The first use of a store asks once how it is laid out.
      expect(scripts).toEqual(["store-format", "append-entries", "append-entries", "append-entries"]);
      await store.close();
    });

    it("recover by themselves when Redis restarts, and bring what was sent around it or announce a gap", async () => {
      await using logs = await twoLogs();
      await using a = await TestLiveServer.start({ log: logs.log });
      await using b = await TestLiveServer.start({ log: logs.other });
      using reader = await follow(b);
      await a.live.broadcast("a", "e", { n: 1 });
      await vi.waitFor(() => expect(reader.seen).toEqual([1]));
      await server.kill();
      await expect(a.live.broadcast("a", "e", { n: "lost" })).rejects.toThrow();
      await server.start();
      await vi.waitFor(() => a.live.broadcast("a", "e", { n: 2 }), { timeout: 30_000, interval: 100 });
      await vi.waitFor(() => expect(reader.seen.at(-1)).toBe(2), { timeout: 30_000 });
      if (reader.gaps.length === 0) expect(reader.seen).toEqual([1, 2]);
      expect(reader.client.state).toBe("connected");
    });
  });
});
