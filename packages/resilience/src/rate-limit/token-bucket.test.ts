import { VirtualClock } from "@holdfast/kernel/testing";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { TokenBucket } from "./token-bucket.ts";

const clock = new VirtualClock();

describe("TokenBucket", () => {
  it("grants a burst, then one permit each refill, and tells the exact wait", () => {
    const bucket = new TokenBucket({ burst: 2, perSecond: 10, clock });
    expect(bucket.take(0)).toBe(0);
    expect(bucket.take(0)).toBe(0);
    expect(bucket.take(0)).toBeCloseTo(100);
    expect(bucket.take(60)).toBeCloseTo(40);
    expect(bucket.take(100)).toBe(0);
    expect(bucket.freeCount(10_000)).toBe(2);
  });

  it("never grants more than burst + rate × time in any stretch", () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 10 }),
        fc.integer({ min: 1, max: 200 }),
        fc.array(fc.integer({ min: 0, max: 100 }), { maxLength: 150 }),
        (burst, perSecond, gaps) => {
          const bucket = new TokenBucket({ burst, perSecond, clock });
          const granted: number[] = [];
          let now = 0;
          for (const gap of gaps) {
            now += gap;
            if (bucket.take(now) === 0) granted.push(now);
          }
          granted.forEach((from, first) => {
            granted.slice(first).forEach((to, index) => {
              expect(index + 1).toBeLessThanOrEqual(burst + ((to - from) * perSecond) / 1_000 + 1e-6);
            });
          });
        },
      ),
      { numRuns: 50 },
    );
  });

  it("refuses numbers out of range, naming them", () => {
    expect(() => new TokenBucket({ burst: 0, perSecond: 1 })).toThrow(/tokenBucket.burst/);
    expect(() => new TokenBucket({ burst: 1, perSecond: 0 })).toThrow(/tokenBucket.perSecond/);
    expect(() => new TokenBucket({ burst: 1, perSecond: 1, initial: 2 })).toThrow(/tokenBucket.initial/);
  });
});
