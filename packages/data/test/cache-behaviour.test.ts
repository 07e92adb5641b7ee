import { type CacheOptions, CacheUnavailableError } from "@holdfast/data";
import { ClosedError, seededRandom, TimeoutError } from "@holdfast/kernel";
import { VirtualClock } from "@holdfast/kernel/testing";
import { describe, expect, it } from "vitest";
import { checkCacheOptions } from "../src/cache/cache-options.ts";
import { MemoryState, MemoryStore } from "../src/cache/memory-store.ts";
import type { SharedStore } from "../src/cache/shared-store.ts";
import { Gate } from "./cache-naive.ts";
import { cacheOver } from "./cache-over-store.ts";

const LATEST = { maxStalenessMs: 0 } as const;

/** A store that can be made to fail. */
const breakable = (
  inner: SharedStore,
): { store: SharedStore; fail: (isDown: boolean) => void; callCount: () => number } => {
  let isDown = false;
  let callCount = 0;
  const store = new Proxy(inner, {
    get(target, name) {
      const member: unknown = Reflect.get(target, name, target);
      if (typeof member !== "function") return member;
      if (name === "listen" || name === "close") return member.bind(target);
      return (...args: unknown[]) => {
        callCount += 1;
        return isDown ? Promise.reject(new CacheUnavailableError(String(name))) : member.apply(target, args);
      };
    },
  });
  return {
    store,
    fail: (value) => {
      isDown = value;
    },
    callCount: () => callCount,
  };
};

const setUp = async (options: Partial<CacheOptions> = {}) => {
  const clock = new VirtualClock();
  const random = seededRandom(7);
  const state = new MemoryState({ random });
  const all: CacheOptions = { name: "test", ttlJitter: 0, ...options };
  const open = async () => {
    const broken = breakable(new MemoryStore({ state, clock, random }));
    const cache = cacheOver(broken.store, all, { clock, random });
    await cache.start();
    return { cache, ...broken };
  };
  let loadCount = 0;
  const counted = (value: unknown) => async () => {
    loadCount += 1;
    return value;
  };
  return { clock, state, open, counted, loadCount: () => loadCount, ...(await open()) };
};

describe("a cache", () => {
  it("loads once, then hits, for its time to live and no longer", async () => {
    const { cache, clock, counted, loadCount } = await setUp();
    for (let index = 0; index < 5; index += 1) {
      expect(await cache.get("k", { load: counted("v") })).toBe("v");
      expect(await cache.get("k", { load: counted("v"), ...LATEST })).toBe("v");
    }
    expect(loadCount()).toBe(1);
    await clock.advance(299_000);
    await cache.get("k", { load: counted("v") });
    expect(loadCount()).toBe(1);
    await clock.advance(2_000);
    await cache.get("k", { load: counted("v") });
    expect(loadCount()).toBe(2);
    await cache.close();
  });

  it("spreads the ends of what was filled together", async () => {
    const { cache, clock, counted, loadCount } = await setUp({ ttlJitter: 0.1 });
    const all = () =>
      Promise.all(
        Array.from({ length: 200 }, (_, index) => cache.get(`k${index}`, { load: counted(index) })),
      );
    await all();
    await clock.advance(285_000);
    await all();
    const earlyCount = loadCount() - 200;
    expect(earlyCount).toBeGreaterThan(50);
    expect(earlyCount).toBeLessThan(150);
    await cache.close();
  });

  it("keeps absence as well as values, until it is invalidated or its shorter time is over", async () => {
    const { cache, clock, counted, loadCount } = await setUp();
    expect(await cache.get("k", { load: counted(undefined) })).toBeUndefined();
    expect(await cache.get("k", { load: counted(undefined) })).toBeUndefined();
    expect(await cache.get("n", { load: counted(null) })).toBeNull();
    expect(loadCount()).toBe(2);
    await cache.invalidate({ keys: ["k"] });
    expect(await cache.get("k", { load: counted("inserted") })).toBe("inserted");
    await cache.get("gone", { load: counted(undefined) });
    await clock.advance(30_001);
    expect(await cache.get("gone", { load: counted("late") })).toBe("late");
    await cache.close();
  });

  it("shares one load among all who ask meanwhile, and fails them all when it fails", async () => {
    const { cache, counted } = await setUp();
    const gate = new Gate();
    let count = 0;
    const load = async () => {
      count += 1;
      await gate.pass();
      throw new Error("no source");
    };
    const readers = Array.from({ length: 1_000 }, () => cache.get("k", { load }));
    const settled = Promise.allSettled(readers);
    await gate.arrived;
    gate.open();
    expect(
      (await settled).every((each) => each.status === "rejected" && each.reason.message === "no source"),
    ).toBe(true);
    expect(count).toBe(1);
    expect(await cache.get("k", { load: counted("again") })).toBe("again");
    await cache.close();
  });

  it("lets an aborted reader go with its own reason, while the load goes on for the others", async () => {
    const { cache } = await setUp();
    const gate = new Gate();
    const controller = new AbortController();
    const load = async () => {
      await gate.pass();
      return "v";
    };
    const leaving = cache.get("k", { load, signal: controller.signal });
    const staying = cache.get("k", { load });
    await gate.arrived;
    controller.abort("enough");
    await expect(leaving).rejects.toBe("enough");
    gate.open();
    expect(await staying).toBe("v");
    await expect(cache.get("k", { load, signal: controller.signal })).rejects.toBe("enough");
    await cache.close();
  });

  it("gives up a load that takes too long, and lets the next reader load at once", async () => {
    const { cache, clock, counted } = await setUp({ loadTimeoutMs: 1_000 });
    let signal: AbortSignal | undefined;
    const never = cache.get("k", {
      load: (context) => {
        signal = context.signal;
        return new Promise(() => undefined);
      },
    });
    const failed = expect(never).rejects.toThrow(TimeoutError);
    await clock.advance(1_001);
    await failed;
    expect(signal?.aborted).toBe(true);
    expect(await cache.get("k", { load: counted("v") })).toBe("v");
    await cache.close();
  });

  describe("serves an expired entry", () => {
    it("while one reader loads it anew, and only within the time it may be stale", async () => {
      const { cache, clock, counted } = await setUp();
      const options = { ttlMs: 1_000, staleMs: 500 };
      await cache.get("k", { load: counted("old"), ...options });
      await clock.advance(1_200);
      expect(await cache.get("k", { load: counted("new"), ...options })).toBe("old");
      await clock.advance(1);
      expect(await cache.get("k", { load: counted("newer"), ...options })).toBe("new");
      await clock.advance(2_000);
      expect(await cache.get("k", { load: counted("newest"), ...options })).toBe("newest");
      expect(cache.stats().staleHitCount).toBe(1);
      await cache.close();
    });

    it("when the load fails, and only within the time allowed for that", async () => {
      const { cache, clock, counted } = await setUp();
      const options = { ttlMs: 1_000, staleIfErrorMs: 500 };
      const fail = () => Promise.reject(new Error("no source"));
      await cache.get("k", { load: counted("old"), ...options });
      await clock.advance(1_200);
      expect(await cache.get("k", { load: fail, ...options })).toBe("old");
      await clock.advance(400);
      await expect(cache.get("k", { load: fail, ...options })).rejects.toThrow("no source");
      await cache.close();
    });

    it("never after an invalidation, by key or by tag, not even one that comes during the failing load", async () => {
      for (const how of [{ keys: ["k"] }, { tags: ["t"] }]) {
        const { cache, clock, counted } = await setUp();
        const options = { ttlMs: 1_000, staleMs: 60_000, staleIfErrorMs: 60_000, tags: ["t"] };
        const fail = () => Promise.reject(new Error("no source"));
        await cache.get("k", { load: counted("old"), ...options });
        await clock.advance(1_200);
        await cache.invalidate(how);
        await expect(cache.get("k", { load: fail, ...options })).rejects.toThrow("no source");
        expect(await cache.get("k", { load: counted("new"), ...options })).toBe("new");
        await clock.advance(1_200);
        const only = { ...options, staleMs: 0 };
        const failing = cache.get("k", {
          ...only,
          load: async () => {
            await cache.invalidate(how);
            throw new Error("no source");
          },
        });
        await expect(failing).rejects.toThrow("no source");
        await cache.close();
      }
    });
  });

  describe("without its shared store", () => {
    it("goes to the source once a call, opens a breaker, and recovers by itself", async () => {
      const { cache, clock, counted, loadCount, fail, callCount } = await setUp();
      await cache.get("k", { load: counted("v"), ...LATEST });
      fail(true);
      for (let index = 0; index < 10; index += 1) {
        expect(await cache.get("k", { load: counted(index), ...LATEST })).toBe(index);
      }
      expect(loadCount()).toBe(11);
      expect(cache.stats()).toMatchObject({ bypassCount: 10, breaker: "open" });
      const before = callCount();
      await cache.get("k", { load: counted("v"), ...LATEST });
      expect(callCount()).toBe(before);
      fail(false);
      await clock.advance(1_500);
      expect(await cache.get("k", { load: counted("unused"), ...LATEST })).toBe("v");
      expect(cache.stats().breaker).toBe("closed");
      await cache.close();
    });

    it("serves copies for its staleness bound and not a moment longer", async () => {
      const { cache, clock, counted, fail } = await setUp({ maxStalenessMs: 1_000 });
      await cache.get("k", { load: counted("old") });
      await clock.advance(5_000);
      expect(await cache.get("k", { load: counted("new") })).toBe("old");
      fail(true);
      await clock.advance(600);
      expect(await cache.get("k", { load: counted("new") })).toBe("old");
      await clock.advance(401);
      expect(await cache.get("k", { load: counted("new") })).toBe("new");
      expect(cache.stats().isNearTrusted).toBe(false);
      await cache.close();
    });

    it("refuses what only the store can do, as retryable", async () => {
      const { cache, fail } = await setUp();
      fail(true);
      await expect(cache.invalidate({ keys: ["k"] })).rejects.toMatchObject({
        code: "CACHE_UNAVAILABLE",
        retryable: true,
      });
      await expect(cache.put("k", 1)).rejects.toThrow(CacheUnavailableError);
      await expect(cache.peek(["k"])).rejects.toThrow(CacheUnavailableError);
      await expect(cache.clear()).rejects.toThrow(CacheUnavailableError);
      await cache.close();
    });
  });

  it("keeps what has no other home: put, peek in order, expire, delete", async () => {
    const { cache, clock } = await setUp();
    await cache.put("a", { n: 1n }, { ttlMs: 2_000 });
    await cache.put("b", [2]);
    expect(await cache.peek(["b", "missing", "a"])).toEqual([[2], undefined, { n: 1n }]);
    await clock.advance(2_500);
    expect(await cache.peek(["a", "b"])).toEqual([undefined, [2]]);
    await cache.put("b", [3]);
    expect(await cache.peek(["b"])).toEqual([[3]]);
    await cache.invalidate({ keys: ["b"] });
    expect(await cache.peek(["b"])).toEqual([undefined]);
    await cache.close();
  });

  it("gives hits and misses identical types", async () => {
    const { cache, counted } = await setUp();
    const value = { at: new Date(3), big: 5n, vector: new Float32Array([1, 0.5]), none: null, list: [] };
    const got = [
      await cache.get("k", { load: counted(value) }),
      await cache.get("k", { load: counted("unused") }),
      await cache.get("k", { load: counted("unused"), ...LATEST }),
    ];
    for (const each of got) expect(each).toStrictEqual(value);
    await cache.close();
  });

  it("asks the store for each read without a bound, and reads its text anew only when that has changed", async () => {
    const { cache, counted, callCount } = await setUp({ ...LATEST });
    const first = await cache.get("k", { load: counted({ id: 7 }) });
    const before = callCount();
    expect(await cache.get("k", { load: counted("unused") })).toBe(first);
    expect(callCount()).toBe(before + 1);
    await cache.put("k", { id: 8 });
    expect(await cache.get("k", { load: counted("unused") })).toEqual({ id: 8 });
    await cache.close();
  });

  it("counts every read once, whatever became of it", async () => {
    const { cache, clock, counted, fail } = await setUp();
    await Promise.all(Array.from({ length: 10 }, () => cache.get("k", { load: counted(1) })));
    await cache.get("k", { load: counted(1) });
    await cache.get("k", { load: counted(1), ...LATEST });
    await cache.get("bad", { load: () => Promise.reject(new Error("x")) }).catch(() => undefined);
    await cache.get("", { load: counted(1) }).catch(() => undefined);
    await cache.get("k2", { load: counted(1), tags: [""] }).catch(() => undefined);
    await cache.get("s", { load: counted(1), ttlMs: 10, staleMs: 1_000 });
    await clock.advance(20);
    await cache.get("s", { load: counted(1), ttlMs: 10, staleMs: 1_000 });
    fail(true);
    await cache.get("k", { load: counted(1), ...LATEST });
    const { readCount, nearHitCount, sharedHitCount, staleHitCount, missCount, bypassCount, failedCount } =
      cache.stats();
    expect(nearHitCount + sharedHitCount + staleHitCount + missCount + bypassCount + failedCount).toBe(
      readCount,
    );
    expect([
      readCount,
      nearHitCount,
      sharedHitCount,
      staleHitCount,
      missCount,
      bypassCount,
      failedCount,
    ]).toEqual([18, 1, 1, 1, 11, 1, 3]);
    await cache.close();
  });

  describe("audits", () => {
    it("report an entry that differs from its source and goes on differing, and only such a one", async () => {
      const { cache, clock } = await setUp({ audit: { ratio: 1, delayMs: 1_000 } });
      const found: string[] = [];
      cache.events.on("inconsistent", ({ key }) => found.push(key));
      let source = "v1";
      const read = () => cache.get("k", { load: async () => source });
      await read();
      await read();
      await clock.advance(2_000);
      expect([cache.stats().auditCount, found]).toEqual([1, []]);
      // A change that was not published: nobody told the cache.
      source = "v2";
      await read();
      await clock.advance(2_000);
      expect(found).toEqual(["k"]);
      // One that is published within the delay is no fault.
      await cache.invalidate({ keys: ["k"] });
      await read();
      source = "v3";
      await read();
      await clock.advance(10);
      await cache.invalidate({ keys: ["k"] });
      await clock.advance(2_000);
      expect([found, cache.stats().inconsistentCount]).toEqual([["k"], 1]);
      await cache.close();
    });
  });

  it("refuses options, keys and tags that it cannot work with, by name", async () => {
    const bad: [Partial<CacheOptions>, RegExp][] = [
      [{ name: "a b" }, /name/],
      [{ ttlMs: 0 }, /ttlMs/],
      [{ ttlJitter: 2 }, /ttlJitter/],
      [{ maxStalenessMs: -1 }, /maxStalenessMs/],
      [{ partitionCount: 65 }, /partitionCount/],
      [{ leaseMs: Number.NaN }, /leaseMs/],
    ];
    for (const [options, message] of bad) {
      expect(() => checkCacheOptions({ name: "x", ...options })).toThrow(message);
    }
    const { cache, counted } = await setUp();
    await expect(cache.get("k", { load: counted(1), tags: [""] })).rejects.toThrow(/tags/);
    await expect(cache.get("k", { load: counted(1), tags: Array(17).fill("t") })).rejects.toThrow(/tags/);
    await expect(cache.get("k", { load: () => () => 1 })).rejects.toThrow(/value/);
    await expect(cache.get("k", { load: counted(1), ttlMs: 0 })).rejects.toThrow(/ttlMs/);
    await expect(cache.get("k", { load: counted(1), staleMs: 8 * 86_400_000 })).rejects.toThrow(/staleMs/);
    await expect(cache.get("k", { load: counted(1), maxStalenessMs: 60_001 })).rejects.toThrow(
      /maxStalenessMs/,
    );
    await expect(cache.transaction(async () => 1)).rejects.toThrow(/sql/);
    await cache.close();
    await expect(cache.get("k", { load: counted(1) })).rejects.toThrow(ClosedError);
  });

  it("closes with loads under way, and leaves no timer", async () => {
    const { cache, clock } = await setUp();
    const reading = cache.get("k", { load: () => new Promise(() => undefined) });
    const failed = expect(reading).rejects.toThrow(ClosedError);
    await clock.advance(1);
    await cache.close();
    await failed;
    expect(clock.pendingCount).toBe(0);
  });
});
