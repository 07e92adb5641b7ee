import { seededRandom, silentLogger } from "@holdfast/kernel";
import { VirtualClock } from "@holdfast/kernel/testing";
import { expect, it } from "vitest";
import { Cache } from "./cache.ts";
import { type CacheOptions, checkCacheOptions } from "./cache-options.ts";
import { MemoryState, MemoryStore } from "./memory-store.ts";

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
