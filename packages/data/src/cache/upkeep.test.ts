import { seededRandom, silentLogger } from "@holdfast/kernel";
import { VirtualClock } from "@holdfast/kernel/testing";
import { expect, it } from "vitest";
import { Cache } from "./cache.ts";
import { CacheUnavailableError } from "./cache-errors.ts";
import { type CacheOptions, checkCacheOptions } from "./cache-options.ts";
import { MemoryState, MemoryStore } from "./memory-store.ts";

it("a cache one of whose partitions is away says so once, and once that all are back", async () => {
  const clock = new VirtualClock();
  const random = seededRandom(1);
  const said: string[] = [];
  const note = (_fields: object, message?: string): number => said.push(message ?? "");
  const options: CacheOptions = { name: "test", partitionCount: 2 };
  const stores = [0, 1].map(() => new MemoryStore({ state: new MemoryState({ random }), clock, random }));
  const [away] = stores;
  let isAway = true;
  const sync = away?.sync.bind(away);
  Object.assign(away ?? {}, {
    sync: async () => (isAway ? Promise.reject(new CacheUnavailableError("sync")) : sync?.()),
  });
  const cache = new Cache({
    options,
    settings: checkCacheOptions(options),
    stores,
    clock,
    random,
    logger: { ...silentLogger, warn: note, info: note },
  });
  await cache.start();
  await clock.advance(10_000);
  expect(said).toEqual([expect.stringContaining("cannot be reached")]);
  isAway = false;
  await clock.advance(10_000);
  expect(said.slice(1)).toEqual([expect.stringContaining("can be reached again")]);
  await cache.close();
});

it("a cache opens, and closes, beside a database that never tells its position", async () => {
  const clock = new VirtualClock();
  const random = seededRandom(1);
  let askedCount = 0;
  const options: CacheOptions = {
    name: "test",
    positions: {
      // Deaf to its signal, too.
      current: () => {
        askedCount += 1;
        return new Promise(() => undefined);
      },
    },
  };
  const cache = new Cache({
    options,
    settings: checkCacheOptions(options),
    stores: [new MemoryStore({ state: new MemoryState({ random }), clock, random })],
    clock,
    random,
    logger: silentLogger,
  });
  let isOpen = false;
  const opening = cache.start().then(() => {
    isOpen = true;
  });
  await clock.advance(1_001);
  expect(isOpen).toBe(true);
  await opening;
  // It goes on asking, each time anew.
  await clock.advance(5_000);
  expect(askedCount).toBeGreaterThan(2);
  let isClosed = false;
  const closing = cache.close().then(() => {
    isClosed = true;
  });
  await clock.advance(1_001);
  expect(isClosed).toBe(true);
  await closing;
});
