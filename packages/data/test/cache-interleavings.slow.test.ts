import { randomInt } from "@holdfast/kernel";
import { describe, expect, it } from "vitest";
import type { Cache } from "../src/cache/cache.ts";
import { type CacheHistory, staleReads } from "./cache-history.ts";
import { NaiveCache, NaiveShared } from "./cache-naive.ts";
import { CacheWorld, noteRead, Scheduler, VersionedRows } from "./cache-world.ts";

const KEYS = ["a", "b"] as const;
const READERS = 3;
const WRITERS = 2;
const ROUNDS = 2;

const emptyHistory = (): CacheHistory => ({ writes: [], reads: [] });

/** A few readers and writers of two rows and of their sum, in several processes. */
const interleave = async (seed: number, lossRatio: number): Promise<CacheHistory> => {
  const maxStalenessMs = 120;
  const world = new CacheWorld({ seed, processCount: 2, maxStalenessMs, lossRatio });
  const { scheduler, rows, caches } = world;
  const { random } = scheduler;
  const history = emptyHistory();
  const now = () => world.now;
  await scheduler.run(caches.map((cache) => cache.start()));
  const pick = () => caches[randomInt(random, caches.length)] as Cache;
  const reader = async () => {
    for (let round = 0; round < ROUNDS; round += 1) {
      await scheduler.step();
      const key = KEYS[randomInt(random, KEYS.length)] ?? "a";
      const isLatest = random.next() < 0.5;
      const bound = isLatest ? { maxStalenessMs: 0 } : {};
      const cache = pick();
      if (random.next() < 0.3) {
        await noteRead(history, now, { key: "sum", maxStalenessMs: isLatest ? 0 : maxStalenessMs }, () =>
          cache.get("sum", { load: () => rows.readAll(KEYS), tags: ["rows"], ...bound }),
        );
      } else {
        await noteRead(history, now, { key, maxStalenessMs: isLatest ? 0 : maxStalenessMs }, () =>
          cache.get(key, { load: () => rows.read(key), staleMs: 100, ...bound }),
        );
      }
    }
  };
  let sum = 0;
  const writer = async () => {
    for (let round = 0; round < ROUNDS; round += 1) {
      await scheduler.step();
      const key = KEYS[randomInt(random, KEYS.length)] ?? "a";
      const version = await rows.write(key);
      // The sum at the commit is at least the number of writes that were committed before.
      sum += 1;
      const sumVersion = sum;
      await pick().invalidate({ keys: [key], tags: ["rows"] });
      history.writes.push(
        { key, version, toldAt: world.now },
        { key: "sum", version: sumVersion, toldAt: world.now },
      );
      // A session of its own in any process. Others may be at the same position: the log is where the last commit left it.
      const session = { epoch: 1n, position: BigInt(sum) };
      await noteRead(history, now, { key, maxStalenessMs, ownVersion: version }, async () =>
        pick().get(key, { load: () => rows.read(key), session }),
      );
    }
  };
  await scheduler.run([
    ...Array.from({ length: READERS }, reader),
    ...Array.from({ length: WRITERS }, writer),
  ]);
  // Whatever was left behind shows now: nobody writes any more, and everybody was told long ago.
  await scheduler.run([scheduler.clock.sleep(maxStalenessMs + 10)]);
  const look = (cache: Cache) => async () => {
    for (const key of KEYS) {
      await noteRead(history, now, { key, maxStalenessMs }, () =>
        cache.get(key, { load: () => rows.read(key) }),
      );
    }
  };
  await scheduler.run(caches.map((cache) => look(cache)()));
  await world.close();
  return history;
};

/** The same with a naive cache. */
const interleaveNaively = async (seed: number): Promise<CacheHistory> => {
  const scheduler = new Scheduler(seed);
  const { random, clock } = scheduler;
  const rows = new VersionedRows(scheduler);
  const shared = new NaiveShared();
  const caches = Array.from({ length: 2 }, () => new NaiveCache(shared));
  const history = emptyHistory();
  const now = () => clock.monotonicNow();
  const pick = () => caches[randomInt(random, caches.length)] ?? caches[0];
  const reader = async () => {
    for (let round = 0; round < ROUNDS; round += 1) {
      await scheduler.step();
      const key = KEYS[randomInt(random, KEYS.length)] ?? "a";
      const cache = pick();
      if (cache === undefined) return;
      await noteRead(history, now, { key, maxStalenessMs: 0 }, () => cache.get(key, () => rows.read(key)));
    }
  };
  const writer = async () => {
    for (let round = 0; round < ROUNDS; round += 1) {
      await scheduler.step();
      const key = KEYS[randomInt(random, KEYS.length)] ?? "a";
      const version = await rows.write(key);
      pick()?.delete(key);
      history.writes.push({ key, version, toldAt: now() });
    }
  };
  await scheduler.run([
    ...Array.from({ length: READERS }, reader),
    ...Array.from({ length: WRITERS }, writer),
  ]);
  return history;
};

describe("interleavings of readers and writers", () => {
  it("break a naive cache in some of a hundred", async () => {
    let brokenCount = 0;
    for (let seed = 0; seed < 100; seed += 1) {
      if (staleReads(await interleaveNaively(seed)).length > 0) brokenCount += 1;
    }
    expect(brokenCount).toBeGreaterThan(10);
  });

  it(
    "never leave an old value in 10,000, with lost messages in half of them",
    { timeout: 120_000 },
    async () => {
      let readCount = 0;
      for (let seed = 0; seed < 10_000; seed += 1) {
        const history = await interleave(seed, seed % 2 === 0 ? 0 : 0.5);
        readCount += history.reads.length;
        expect({ seed, stale: staleReads(history) }).toEqual({ seed, stale: [] });
      }
      expect(readCount).toBeGreaterThanOrEqual(10_000 * READERS * ROUNDS);
    },
  );
});
