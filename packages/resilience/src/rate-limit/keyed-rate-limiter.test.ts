import { VirtualClock } from "@holdfast/kernel/testing";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { KeyedRateLimiter } from "./keyed-rate-limiter.ts";
import { TokenBucket } from "./token-bucket.ts";

const conserve = (limiter: KeyedRateLimiter): void => {
  const stats = limiter.stats;
  expect(stats.askedCount).toBe(stats.grantedCount + stats.refusedCount);
  expect(stats.createdKeyCount).toBe(stats.keyCount + stats.evictedKeyCount + stats.forgottenKeyCount);
};

describe("KeyedRateLimiter", () => {
  it("counts each key for itself and tells the wait", () => {
    const clock = new VirtualClock();
    const limiter = KeyedRateLimiter.slidingWindow({ limit: 1, windowMs: 1_000, clock });
    expect(limiter.tryTake("a")).toBe(0);
    expect(limiter.tryTake("b")).toBe(0);
    expect(limiter.tryTake("a")).toBe(1_000);
    expect(() => limiter.take("a")).toThrow(
      expect.objectContaining({ code: "RESILIENCE_RATE_LIMITED", retryAfterMs: 1_000 }),
    );
    expect(limiter.freePermitCount("b")).toBe(0);
    expect(limiter.freePermitCount("c")).toBeUndefined();
    conserve(limiter);
  });

  it("evicts the key used longest ago at the bound and forgets idle ones", async () => {
    const clock = new VirtualClock();
    const limiter = KeyedRateLimiter.slidingWindow({
      limit: 1,
      windowMs: 60_000,
      keyMaxCount: 2,
      idleMs: 300_000,
      clock,
    });
    limiter.tryTake("a");
    limiter.tryTake("b");
    limiter.tryTake("a");
    limiter.tryTake("c");
    expect(limiter.stats).toMatchObject({ keyCount: 2, evictedKeyCount: 1 });
    expect(limiter.tryTake("a")).toBeGreaterThan(0);
    await clock.advance(300_000);
    limiter.tryTake("d");
    expect(limiter.stats).toMatchObject({ keyCount: 1, forgottenKeyCount: 2 });
    conserve(limiter);
  });

  it("never remembers more keys than allowed, whatever the order of use", async () => {
    const use = fc.tuple(fc.integer({ min: 0, max: 12 }), fc.integer({ min: 0, max: 500 }));
    await fc.assert(
      fc.asyncProperty(fc.array(use, { maxLength: 60 }), async (uses) => {
        const clock = new VirtualClock();
        const limiter = new KeyedRateLimiter({
          createSource: () => new TokenBucket({ burst: 3, perSecond: 5, clock }),
          keyMaxCount: 4,
          idleMs: 1_000,
          clock,
        });
        for (const [key, gapMs] of uses) {
          await clock.advance(gapMs);
          limiter.tryTake(`key-${key}`);
          expect(limiter.stats.keyCount).toBeLessThanOrEqual(4);
          conserve(limiter);
        }
      }),
      { numRuns: 30 },
    );
  });
});
