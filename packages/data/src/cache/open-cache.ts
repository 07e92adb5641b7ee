import { silentLogger, systemClock, systemRandom } from "@holdfast/kernel";
import { Cache } from "./cache.ts";
import { type CacheOptions, type CacheSettings, checkCacheOptions } from "./cache-options.ts";
import { MemoryState, MemoryStore } from "./memory-store.ts";
import { RedisPartition } from "./redis-partition.ts";
import { readCacheScripts } from "./redis-scripts.ts";
import type { SharedStore } from "./shared-store.ts";

/** Tags live longer than any entry: a month at most, and its stale time. */
const TAG_KEEP_MS = 40 * 86_400_000;

/**
 * Opens a cache. Redis need not be reachable: until it is, reads go to their source.
 * @throws InvalidInputError naming the option that is out of range.
 */
export const openCache = async (options: CacheOptions): Promise<Cache> => {
  const settings = checkCacheOptions(options);
  const { clock = systemClock, random = systemRandom, logger = silentLogger } = options;
  const stores = await openStores(options, settings);
  const cache = new Cache({ options, settings, stores, clock, random, logger });
  await cache.start();
  const server = await cache.server().catch(() => undefined);
  for (const warning of server?.warnings ?? []) logger.warn({ cache: options.name }, warning);
  return cache;
};

const openStores = async (
  options: CacheOptions,
  settings: CacheSettings,
): Promise<readonly SharedStore[]> => {
  const { redis, name, clock = systemClock, random = systemRandom } = options;
  if (redis === undefined) return [new MemoryStore({ state: new MemoryState({ random }), clock, random })];
  const scripts = await readCacheScripts();
  return Array.from(
    { length: settings.partitionCount },
    (_, index) =>
      new RedisPartition({ redis, scripts, slot: `${name}.${index}`, tagKeepMs: TAG_KEEP_MS, clock, random }),
  );
};
