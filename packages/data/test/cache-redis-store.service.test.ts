import { seededRandom, systemClock } from "@holdfast/kernel";
import { type RedisServer, startRedis, startRedisCluster } from "@holdfast/testkit";
import { describeService, expectNoLeaks } from "@holdfast/testkit/vitest";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { RedisPartition } from "../src/cache/redis-partition.ts";
import { readCacheScripts } from "../src/cache/redis-scripts.ts";
import { openRedis, type RedisOptions } from "../src/redis/open-redis.ts";
import { type StoreSetUp, sharedStoreSuite } from "./cache-store.suite.ts";

let slotCount = 0;
const setUpOn = async (
  target: RedisOptions,
  command: (...args: readonly (string | number)[]) => Promise<unknown>,
): Promise<StoreSetUp> => {
  const scripts = await readCacheScripts();
  const random = seededRandom(slotCount);
  const opened: AsyncDisposable[] = [];
  const stores: RedisPartition[] = [];
  slotCount += 1;
  const slot = `store-${slotCount}`;
  return {
    open() {
      // A connection of its own, as another process has.
      const redis = openRedis(target);
      opened.push(redis);
      const store = new RedisPartition({ redis, scripts, slot, tagKeepMs: 3_600_000, clock: systemClock, random });
      stores.push(store);
      return store;
    },
    // What was published before the answer to a command comes before that answer.
    settle: async () => {
      await Promise.all(stores.map((store) => store.read({ key: "any", tags: [] })));
    },
    endLease: async (key) => {
      await command("DEL", `{${slot}}:l:${key}`);
    },
    [Symbol.asyncDispose]: async () => {
      for (const store of stores) await store.close();
      for (const each of opened) await each[Symbol.asyncDispose]();
    },
  };
};

describeService("redis", "the shared store in Redis", () => {
  let server: RedisServer;
  beforeAll(async () => {
    server = await startRedis();
  });
  afterAll(async () => {
    await server?.[Symbol.asyncDispose]();
  });
  const setUp = () => setUpOn({ url: server.url }, (...args) => server.command(...args));

  describe("by the rules of every store", () => {
    expectNoLeaks();
    sharedStoreSuite(setUp);
  });
});
