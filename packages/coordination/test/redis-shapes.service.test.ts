import { createRedisStore, type RedisClient } from "@holdfast/coordination/redis";
import {
  leaseLinesSuite,
  leasesSuite,
  locksSuite,
  logSuite,
  queueSuite,
  stateSyncSuite,
} from "@holdfast/coordination/testing";
import { startRedisCluster, startRedisSentinel } from "@holdfast/testkit";
import { describeService } from "@holdfast/testkit/vitest";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import { openRedisCluster, openRedisSentinel } from "./redis-client.ts";
import { elapseInLeases, elapseInQueue, elapseInState, evaluatorOf } from "./redis-elapse.ts";

/** Every suite that a lone server passes, on what `open` gives. */
const everySuite = (open: () => Promise<{ readonly redis: RedisClient; close(): Promise<void> }>): void => {
  let opened: Awaited<ReturnType<typeof open>>;
  let count = 0;
  beforeAll(async () => {
    opened = await open();
  });
  afterAll(() => opened?.close());
  const setUp = async () => {
    count += 1;
    // Another name, another slot: the stores lie on all nodes.
    const namespace = `shape-${count}`;
    const { redis } = opened;
    const store = await createRedisStore({ redis, namespace });
    const server = evaluatorOf(redis);
    return {
      store,
      elapse: async (ms: number) => {
        await elapseInLeases(server, namespace, ms);
        await elapseInState(server, namespace, ms);
        for (const queue of ["q", "a", "b", "default", "history"]) {
          await elapseInQueue(server, namespace, queue, ms);
        }
      },
      [Symbol.asyncDispose]: () => store.close(),
    };
  };
  leasesSuite(setUp);
  leaseLinesSuite(setUp);
  logSuite(setUp);
  locksSuite(setUp);
  stateSyncSuite(setUp);
  queueSuite<never>(setUp);
};

describe("the Redis store passes every suite", () => {
  describeService("redis", "on a Redis Cluster", () => {
    everySuite(async () => {
      const cluster = await startRedisCluster();
      const redis = await openRedisCluster(cluster.urls[0] as string);
      return {
        redis,
        close: async () => {
          await redis[Symbol.asyncDispose]();
          await cluster[Symbol.asyncDispose]();
        },
      };
    });
  });

  describeService("redis", "behind Sentinels", () => {
    everySuite(async () => {
      const sentinels = await startRedisSentinel({ replicaCount: 1 });
      const redis = await openRedisSentinel(sentinels.masterName, sentinels.sentinels);
      return {
        redis,
        close: async () => {
          await redis[Symbol.asyncDispose]();
          await sentinels[Symbol.asyncDispose]();
        },
      };
    });
  });
});

describeService("redis", "a failover by Sentinels", () => {
  it("is followed by the store, which grants no old token again", async () => {
    await using sentinels = await startRedisSentinel({ replicaCount: 1 });
    await using redis = await openRedisSentinel(sentinels.masterName, sentinels.sentinels);
    await using store = await createRedisStore({ redis });
    const before = await store.leases.grant("a", { owner: "me", ttlMs: 60_000 });
    if (before.kind !== "granted") throw new Error("not granted");
    await store.leases.release(before.grant);
    await (await sentinels.master()).kill();
    const after = await vi.waitFor(
      async () => {
        const outcome = await store.leases.grant("b", { owner: "me", ttlMs: 60_000 });
        if (outcome.kind !== "granted") throw new Error("not granted");
        return outcome.grant;
      },
      { timeout: 60_000, interval: 100 },
    );
    expect(after.token).toBeGreaterThan(before.grant.token);
  });
});
