import { type CacheOptions, type Database, openEmbedded } from "@holdfast/data";
import { randomHex, systemClock, systemRandom } from "@holdfast/kernel";
import { afterAll, beforeAll, describe } from "vitest";
import type { Cache } from "../src/cache/cache.ts";
import { CacheUnavailableError } from "../src/cache/cache-errors.ts";
import { MemoryState, MemoryStore } from "../src/cache/memory-store.ts";
import type { SharedStore } from "../src/cache/shared-store.ts";
import { cacheOver } from "./cache-over-store.ts";
import { cacheRacesSuite } from "./cache-races.suite.ts";

describe("the races, with the embedded database and a store in memory", () => {
  let sql: Database;
  const states = new Map<string, MemoryState>();
  beforeAll(async () => {
    sql = await openEmbedded();
  });
  afterAll(() => sql?.close());

  const stateOf = (name: string): MemoryState => {
    const state = states.get(name) ?? new MemoryState({ random: systemRandom });
    states.set(name, state);
    return state;
  };
  const open = async (
    name: string,
    options: Partial<CacheOptions>,
    wrap: (store: SharedStore) => SharedStore,
  ): Promise<Cache> => {
    const clock = options.clock ?? systemClock;
    const store = wrap(new MemoryStore({ state: stateOf(name), clock: systemClock, random: systemRandom }));
    const all: CacheOptions = { name, sql, relayEveryMs: 50, ...options };
    const cache = cacheOver(store, all, { clock, random: systemRandom });
    await cache.migrate();
    await cache.start();
    return cache;
  };
  const cutOff = (): SharedStore => {
    const fail = () => Promise.reject(new CacheUnavailableError("any call"));
    return {
      read: fail,
      claim: fail,
      ticket: fail,
      fill: fail,
      write: fail,
      release: fail,
      invalidate: fail,
      clear: fail,
      sync: fail,
      positionWanted: "",
      listen: () => undefined,
      close: async () => undefined,
    };
  };

  cacheRacesSuite(() => ({
    sql,
    open: (name, options = {}) => open(name, options, (store) => store),
    openCutOff: (name, options = {}) => open(name, options, cutOff),
    loseGuards: async (name) => stateOf(name).begin(randomHex(systemRandom, 16)),
  }));
});
