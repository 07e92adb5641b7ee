import KeyvRedis from "@keyv/redis";
import { BentoCache, bentostore } from "bentocache";
import { memoryDriver } from "bentocache/drivers/memory";
import { redisBusDriver, redisDriver } from "bentocache/drivers/redis";
import { Cacheable, createKeyv } from "cacheable";
import { Redis } from "ioredis";
import { Keyv } from "keyv";

export const BENTOCACHE = "bentocache@1.6.1";
export const CACHEABLE = "cacheable@2.5.0";

/** A cache as a bench uses it: what a read of a present entry costs, and of one that everybody misses. */
export interface CachePeer {
  get(key: string): Promise<unknown>;
  getOrSet(key: string, load: () => Promise<unknown>): Promise<unknown>;
  set(key: string, value: unknown): Promise<unknown>;
  close(): Promise<void>;
}

export type Levels = "both" | "shared";

const TTL_MS = 600_000;
const ENTRY_MAX_COUNT = 100_000;

/**
 * Its best settings: values are kept in memory as they are, the driver pipelines commands of one tick, and a bus tells
 * the other processes.
 */
export const openBentocache = async (
  port: number,
  levels: Levels,
  // Without, a read that finds what another instance's message marked as stale throws (1.6.1): only for one instance.
  options: { readonly serialize: boolean } = { serialize: false },
): Promise<CachePeer> => {
  const connection = new Redis(port, "127.0.0.1", { enableAutoPipelining: true });
  const shared = bentostore().useL2Layer(redisDriver({ connection }));
  const store =
    levels === "shared"
      ? shared
      : bentostore()
          .useL1Layer(memoryDriver({ ...options, maxItems: ENTRY_MAX_COUNT }))
          .useL2Layer(redisDriver({ connection }))
          .useBus(redisBusDriver({ connection: { host: "127.0.0.1", port } }));
  const cache = new BentoCache({ default: "main", ttl: TTL_MS, stores: { main: store } });
  return {
    get: (key) => cache.get({ key }),
    getOrSet: (key, load) => cache.getOrSet({ key, factory: load }),
    set: (key, value) => cache.set({ key, value }),
    close: () => cache.disconnectAll(),
  };
};

/** Its best settings: no clone of values in memory, no statistics. */
export const openCacheable = async (port: number, levels: Levels): Promise<CachePeer> => {
  const shared = new Keyv({ store: new KeyvRedis(`redis://127.0.0.1:${port}`) });
  const cache =
    levels === "shared"
      ? new Cacheable({ primary: shared, ttl: TTL_MS, stats: false })
      : new Cacheable({
          primary: createKeyv({ useClone: false, lruSize: ENTRY_MAX_COUNT }),
          secondary: shared,
          ttl: TTL_MS,
          stats: false,
        });
  return {
    get: (key) => cache.get(key),
    getOrSet: (key, load) => cache.getOrSet(key, load),
    set: (key, value) => cache.set(key, value),
    close: () => cache.disconnect(),
  };
};
