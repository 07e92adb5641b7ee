import type { CacheOptions } from "@holdfast/data";
import { type Clock, type Random, silentLogger } from "@holdfast/kernel";
import { Cache } from "../src/cache/cache.ts";
import { checkCacheOptions } from "../src/cache/cache-options.ts";
import type { SharedStore } from "../src/cache/shared-store.ts";

/** One process's cache over a store of the test's own. Not started. */
export const cacheOver = (
  store: SharedStore,
  options: CacheOptions,
  { clock, random }: { readonly clock: Clock; readonly random: Random },
): Cache =>
  new Cache({
    options,
    settings: checkCacheOptions(options),
    stores: [store],
    clock,
    random,
    logger: silentLogger,
  });
