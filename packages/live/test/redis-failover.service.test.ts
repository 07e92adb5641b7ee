import { createRedisStore } from "@holdfast/coordination/redis";
import { openRedis, type RedisOptions } from "@holdfast/data";
import { startRedis, startRedisSentinel, waitUntil } from "@holdfast/testkit";
import { describeService } from "@holdfast/testkit/vitest";
import { expect, it, vi } from "vitest";
import { WebSocket } from "ws";
import { BroadcastClient } from "../src/client/index.ts";
import { StoredChannelLog } from "../src/server/index.ts";
import { TestLiveServer } from "../src/testing/index.ts";

const PATIENCE = { timeout: 60_000, interval: 50 };
vi.setConfig({ testTimeout: 4 * PATIENCE.timeout });

/** A live server of its own, as a process would have it: its own client of Redis. */
const startServer = async (target: RedisOptions) => {
  const redis = openRedis(target);
  const store = await createRedisStore({ redis, namespace: "live-failover" });
  const log = new StoredChannelLog({ log: store.log });
  const server = await TestLiveServer.start({ log });
  return {
    server,
    publish: (channel: string, n: number) => server.live.broadcast(channel, "e", { n }),
    [Symbol.asyncDispose]: async () => {
      await server.close();
      await log.close();
      await store.close();
      await redis.close();
    },
  };
};

/**
 * A client of some channels, with what it was told of each in order: numbers, and one `gap` where something may be missing.
 */
const follow = async (server: TestLiveServer, ...channels: readonly string[]) => {
  const client = new BroadcastClient(server.url, {
    webSocket: WebSocket as never,
    tabs: false,
    reconnectDelay: 20,
    reconnectDelayMax: 200,
  });
  const stories = new Map(channels.map((channel): [string, unknown[]] => [channel, []]));
  let gapCount = 0;
  client.onGap(({ channel }) => {
    gapCount += 1;
    const story = stories.get(channel);
    if (story?.at(-1) !== "gap") story?.push("gap");
  });
  for (const [channel, story] of stories)
    client.subscribe(channel, ({ payload }) => story.push(payload["n"]));
  client.connect();
  for (const channel of channels) await client.ready(channel);
  return {
    client,
    of: (channel: string) => stories.get(channel),
    gapCount: () => gapCount,
    [Symbol.dispose]: () => client.disconnect(),
  };
};

describeService("redis", "an event that Redis acknowledged and forgot", () => {
  it("is announced after a failover without any later event: to who had it, who was away, and before a channel's first", async () => {
    // Long enough for the replica to be taken although it was cut off a while before.
    await using redis = await startRedisSentinel({ replicaCount: 1, downAfterMs: 2_000 });
    const target = {
      sentinelUrls: redis.sentinels.map(({ host, port }) => `redis://${host}:${port}`),
      masterName: redis.masterName,
    };
    await using a = await startServer(target);
    await using b = await startServer(target);
    using present = await follow(a.server, "had", "first");
    using away = await follow(b.server, "missed", "never-written");
    for (const channel of ["had", "missed"]) await a.publish(channel, 1);
    await vi.waitFor(() => expect([present.of("had"), away.of("missed")]).toEqual([[1], [1]]), PATIENCE);
    b.server.refuse();
    b.server.cut();
    await vi.waitFor(() => expect(away.client.state).toBe("reconnecting"), PATIENCE);

    // From here on the replica hears nothing.
    const master = await redis.master();
    await master.command("ACL", "SETUSER", "default", "-psync", "-sync");
    await master.command("CLIENT", "KILL", "TYPE", "replica");
    await waitUntil("the replica to be cut off", async () =>
      String(await master.command("INFO", "replication")).includes("connected_slaves:0"),
    );
    for (const channel of ["had", "missed", "first", "never-written"]) await a.publish(channel, 2);
    await vi.waitFor(() => expect([present.of("had"), present.of("first")]).toEqual([[1, 2], [2]]), PATIENCE);
    await master.kill();
    await waitUntil("another master", async () => (await redis.master()) !== master, {
      timeoutMs: PATIENCE.timeout,
    });
    b.server.refuse(false);

    await vi.waitFor(() => {
      expect(present.of("had")).toEqual([1, 2, "gap"]);
      expect(present.of("first")).toEqual([2, "gap"]);
      expect(away.of("missed")).toEqual([1, "gap"]);
      expect(away.of("never-written")).toEqual(["gap"]);
    }, PATIENCE);
    // What takes the forgotten ones' places is none of them.
    for (const channel of ["had", "missed", "first", "never-written"]) await b.publish(channel, 3);
    await vi.waitFor(() => {
      expect(present.of("had")).toEqual([1, 2, "gap", 3]);
      expect(present.of("first")).toEqual([2, "gap", 3]);
      expect(away.of("missed")).toEqual([1, "gap", 3]);
      expect(away.of("never-written")).toEqual(["gap", 3]);
    }, PATIENCE);
  });

  it("is announced after each restart of a Redis that keeps nothing, also where none came in between", async () => {
    await using redis = await startRedis();
    await using a = await startServer({ url: redis.url });
    using reader = await follow(a.server, "a");
    await a.publish("a", 1);
    await vi.waitFor(() => expect(reader.of("a")).toEqual([1]), PATIENCE);
    for (let round = 0; round < 2; round += 1) {
      const before = reader.gapCount();
      await redis.kill();
      await redis.start();
      await vi.waitFor(() => expect(reader.gapCount()).toBeGreaterThan(before), PATIENCE);
    }
    expect(reader.of("a")).toEqual([1, "gap"]);
  });
});
