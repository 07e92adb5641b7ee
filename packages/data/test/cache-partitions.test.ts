import { seededRandom, silentLogger } from "@holdfast/kernel";
import { VirtualClock } from "@holdfast/kernel/testing";
import { describe, expect, it } from "vitest";
import { Cache } from "../src/cache/cache.ts";
import type { CacheKey } from "../src/cache/cache-key.ts";
import { checkCacheOptions } from "../src/cache/cache-options.ts";
import { MemoryState, MemoryStore } from "../src/cache/memory-store.ts";

const PARTITION_COUNT = 4;

const openPartitioned = async (): Promise<Cache> => {
  const clock = new VirtualClock();
  const random = seededRandom(3);
  const options = { name: "test", partitionCount: PARTITION_COUNT };
  const stores = Array.from(
    { length: PARTITION_COUNT },
    () => new MemoryStore({ state: new MemoryState({ random }), clock, random }),
  );
  const settings = checkCacheOptions(options);
  const cache = new Cache({ options, settings, stores, clock, random, logger: silentLogger });
  await cache.start();
  return cache;
};

describe("a cache over several partitions", () => {
  const keys: readonly (readonly [string, (index: number) => CacheKey])[] = [
    ["a short text", (index) => `user ${index}`],
    ["a text that is too long to stand for itself", (index) => `${"x".repeat(250)} ${index}`],
    ["a text that ends in the middle of a character", (index) => `user ${index} \ud83d`],
    ["a list of parts", (index) => ["user", index]],
    ["a long list of parts", (index) => ["user", "x".repeat(250), index]],
  ];
  it.each(keys)("finds for %s the partition that its invalidation reaches", async (_what, keyOf) => {
    await using cache = await openPartitioned();
    for (let index = 0; index < 32; index += 1) {
      const key = keyOf(index);
      expect(await cache.get(key, { load: () => "old" })).toBe("old");
      expect(await cache.peek([key])).toEqual(["old"]);
      await cache.invalidate({ keys: [key] });
      expect(await cache.get(key, { load: () => "new", maxStalenessMs: 0 })).toBe("new");
    }
  });

  it("gives the copy in this process also for a long text", async () => {
    await using cache = await openPartitioned();
    const key = "y".repeat(300);
    await cache.get(key, { load: () => 1 });
    expect(await cache.get(key, { load: () => 2 })).toBe(1);
    expect(cache.stats().nearHitCount).toBe(1);
  });
});
