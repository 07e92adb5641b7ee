import { createRedisStore, type FastStore } from "@holdfast/coordination/redis";
import { queueSuite } from "@holdfast/coordination/testing";
import { startRedis, startRedisCluster } from "@holdfast/testkit";
import { describeService } from "@holdfast/testkit/vitest";
import { describe, expect, it, vi } from "vitest";
import { UnsupportedError } from "../src/errors.ts";
import { openRedis, openRedisCluster } from "./redis-client.ts";
import { elapseInQueue } from "./redis-elapse.ts";
import { suiteRedis } from "./suite-redis.ts";

describeService("redis", "the task queues of the Redis store", () => {
  const shared = suiteRedis();
  let count = 0;

  const setUp = async (options: { readonly payloadMaxBytes?: number } = {}) => {
    count += 1;
    const namespace = `store-${count}`;
    const store = await createRedisStore({ redis: shared.redis, namespace, ...options });
    return {
      store,
      elapse: async (ms: number) => {
        for (const queue of ["q", "a", "b", "default", "history"]) {
          await elapseInQueue(shared.server, namespace, queue, ms);
        }
      },
      [Symbol.asyncDispose]: () => store.close(),
    };
  };
  queueSuite<never>(setUp);

  describe("what Redis adds", () => {
    const keyOf = (part: string): string => `{store-${count}:queue:q}:${part}`;
    const fresh = async (): Promise<FastStore> => (await setUp()).store;

    it("has no transactions that a change could join, and says so", async () => {
      await using store = await fresh();
      const queue = store.queue("q");
      const tx = {} as never;
      const refused = UnsupportedError;
      await expect(queue.enqueue([{ id: "a", type: "t", payload: 1 }], { tx })).rejects.toThrow(refused);
      await expect(queue.claim({ worker: "w", maxCount: 1, leaseMs: 1000, tx })).rejects.toThrow(refused);
      await expect(queue.complete([{ id: "a", token: 1n }], { tx })).rejects.toThrow(refused);
      expect((await queue.stats()).total).toBe(0);
    });

    it("puts damaged tasks into dead letter, drops those whose body was evicted, and hands out the others", async () => {
      await using store = await fresh();
      const queue = store.queue("q");
      await queue.enqueue(["a", "b", "c"].map((id) => ({ id, type: "t", payload: 1 })));
      const stored = String(await shared.server.command("HGET", keyOf("t"), "a"));
      await shared.server.command("HSET", keyOf("t"), "a", stored.slice(0, -1));
      await shared.server.command("HDEL", keyOf("t"), "b");
      const claimed = await queue.claim({ worker: "w", maxCount: 9, leaseMs: 1000 });
      expect(claimed.map(({ id }) => id)).toEqual(["c"]);
      expect(await queue.list({ states: ["dead"] })).toMatchObject([
        { id: "a", type: "t", payload: "", failures: [{ error: { code: "DAMAGED" } }] },
      ]);
      await shared.server.command("HSET", keyOf("t"), "a", stored.slice(0, 36));
      expect(await queue.get("a")).toMatchObject({ id: "a", type: "", payload: stored.slice(0, 36) });
      expect(await queue.stats()).toMatchObject({ pending: 0, claimed: 1, dead: 1, total: 2 });
    });

    it("leaves no key behind but its counters when all is done and forgotten", async () => {
      await using store = await fresh();
      const queue = store.queue("q");
      await queue.enqueue([
        { id: "a", type: "t", payload: 1, keepCompleted: false, group: "g", dedupeKey: "k", limitKey: "l" },
        { id: "b", type: "u", payload: 2, priority: "high", group: "g" },
        { id: "c", type: "t", payload: 3, after: ["a"], group: "h" },
      ]);
      for (let round = 0; round < 2; round += 1) {
        await queue.complete(await queue.claim({ worker: "w", maxCount: 9, leaseMs: 1000 }));
      }
      expect(await queue.deleteGroups(["g", "h"])).toBe(2);
      await queue.nextDueInMs();
      const keys = (await shared.server.command("KEYS", keyOf("*"))) as string[];
      expect(keys.sort()).toEqual([keyOf("seq"), keyOf("token")]);
    });

    it("calls an outage an outage, never an empty queue", async () => {
      await using own = await startRedis();
      await using client = await openRedis(own.url);
      await using store = await createRedisStore({ redis: client });
      const queue = store.queue("q");
      await queue.stats();
      await own.kill();
      await expect(queue.stats()).rejects.toMatchObject({ code: "COORDINATION_STORE_UNAVAILABLE" });
      await expect(queue.enqueue([{ id: "a", type: "t", payload: 1 }])).rejects.toMatchObject({
        code: "COORDINATION_STORE_UNAVAILABLE",
      });
      await expect(queue.claim({ worker: "w", maxCount: 1, leaseMs: 1000 })).rejects.toMatchObject({
        code: "KERNEL_OUTCOME_UNKNOWN",
      });
    });
  });
});

describeService("redis", "the task queues of the Redis store on a cluster", () => {
  it("lie in one slot each, and wake workers through any node", async () => {
    await using cluster = await startRedisCluster();
    await using redis = await openRedisCluster(cluster.urls[0] as string);
    await using store = await createRedisStore({ redis });
    const queues = ["a", "b", "c", "d"].map((name) => store.queue(name));
    let wakeCount = 0;
    const stop = queues[3]?.onAvailable(() => {
      wakeCount += 1;
    });
    await vi.waitFor(async () => {
      await queues[3]?.enqueue([{ type: "t", payload: 0 }]);
      expect(wakeCount).toBeGreaterThan(0);
    });
    stop?.();
    for (const queue of queues) {
      await queue.enqueue([
        { id: "x", type: "t", payload: 1, group: "g", dedupeKey: "k", limitKey: "l" },
        { id: "y", type: "t", payload: 1, after: ["x"] },
      ]);
      await queue.setLimits({ perKey: { concurrency: 1 } });
      for (const id of ["x", "y"]) {
        const claimed = await queue.claim({ worker: "w", maxCount: 99, leaseMs: 1000 });
        expect(claimed.map((task) => task.id)).toContain(id);
        await queue.complete(claimed);
      }
      expect(await queue.deleteGroups(["g"])).toBe(1);
    }
  });
});
