import { InvalidInputError, seededRandom } from "@holdfast/kernel";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  type Backoff,
  decorrelatedBackoff,
  exponentialBackoff,
  fibonacciBackoff,
  fixedBackoff,
  linearBackoff,
} from "../index.ts";

/** The pauses of one run, each fed with the one before as a retry does. */
const pausesOf = (backoff: Backoff, count: number, seed = 1): number[] => {
  const random = seededRandom(seed);
  const pauses: number[] = [];
  for (let attempt = 1; attempt <= count; attempt += 1) {
    pauses.push(backoff.delayMs(attempt, pauses.at(-1), random));
  }
  return pauses;
};

describe("backoff strategies", () => {
  it("doubles from the base: 100, 200, 400 ms", () => {
    expect(pausesOf(exponentialBackoff({ baseMs: 100, jitter: "none" }), 3)).toEqual([100, 200, 400]);
  });

  it("never exceeds the cap over many retries", () => {
    const pauses = pausesOf(exponentialBackoff({ baseMs: 100, capMs: 1_000, jitter: "none" }), 2_000);
    expect(Math.max(...pauses)).toBe(1_000);
    expect(pauses.at(-1)).toBe(1_000);
  });

  it("keeps a fixed pause fixed", () => {
    expect(pausesOf(fixedBackoff({ delayMs: 1_500 }), 4)).toEqual([1_500, 1_500, 1_500, 1_500]);
  });

  it("grows a linear pause by its step", () => {
    expect(pausesOf(linearBackoff({ baseMs: 1_000, stepMs: 500 }), 3)).toEqual([1_000, 1_500, 2_000]);
  });

  it("follows Fibonacci up to the cap", () => {
    const pauses = pausesOf(fibonacciBackoff({ baseMs: 1, capMs: 21 }), 12);
    expect(pauses).toEqual([1, 1, 2, 3, 5, 8, 13, 21, 21, 21, 21, 21]);
  });

  it("answers for an absurd attempt number at once and within the cap", () => {
    const random = seededRandom(1);
    expect(fibonacciBackoff().delayMs(Number.MAX_SAFE_INTEGER, undefined, random)).toBe(60_000);
    expect(exponentialBackoff({ jitter: "none" }).delayMs(1e9, undefined, random)).toBe(60_000);
  });

  it("keeps decorrelated pauses within base and cap, each at most three times the one before", () => {
    fc.assert(
      fc.property(fc.integer(), fc.integer({ min: 1, max: 5_000 }), (seed, baseMs) => {
        const capMs = baseMs * 20;
        let previous = baseMs;
        for (const pause of pausesOf(decorrelatedBackoff({ baseMs, capMs }), 30, seed)) {
          expect(pause).toBeGreaterThanOrEqual(baseMs);
          expect(pause).toBeLessThanOrEqual(Math.min(capMs, 3 * previous));
          previous = pause;
        }
      }),
    );
  });

  it("lets concurrent runs of one decorrelated strategy know nothing of each other", () => {
    const backoff = decorrelatedBackoff({ baseMs: 10, capMs: 100_000 });
    const alone = pausesOf(backoff, 6, 7);
    pausesOf(backoff, 6, 8);
    expect(pausesOf(backoff, 6, 7)).toEqual(alone);
  });
});

describe("jitter", () => {
  const attempts = fc.integer({ min: 1, max: 40 });

  it("keeps full jitter within zero and the ceiling", () => {
    const backoff = exponentialBackoff({ baseMs: 100, capMs: 5_000 });
    fc.assert(
      fc.property(fc.integer(), attempts, (seed, attempt) => {
        const pause = backoff.delayMs(attempt, undefined, seededRandom(seed));
        expect(pause).toBeGreaterThanOrEqual(0);
        expect(pause).toBeLessThanOrEqual(Math.min(100 * 2 ** (attempt - 1), 5_000));
      }),
    );
  });

  it("keeps equal jitter in the upper half", () => {
    const backoff = exponentialBackoff({ baseMs: 100, capMs: 5_000, jitter: "equal" });
    fc.assert(
      fc.property(fc.integer(), attempts, (seed, attempt) => {
        const nominal = Math.min(100 * 2 ** (attempt - 1), 5_000);
        const pause = backoff.delayMs(attempt, undefined, seededRandom(seed));
        expect(pause).toBeGreaterThanOrEqual(nominal / 2);
        expect(pause).toBeLessThanOrEqual(nominal);
      }),
    );
  });

  it("only ever adds with additive jitter, at most the stated share", () => {
    const backoff = exponentialBackoff({ baseMs: 100, capMs: 5_000, jitter: { addShareMax: 0.2 } });
    fc.assert(
      fc.property(fc.integer(), attempts, (seed, attempt) => {
        const nominal = Math.min(100 * 2 ** (attempt - 1), 5_000);
        const pause = backoff.delayMs(attempt, undefined, seededRandom(seed));
        expect(pause).toBeGreaterThanOrEqual(nominal);
        expect(pause).toBeLessThanOrEqual(nominal * 1.2);
      }),
    );
  });

  it("never spreads below 10 ms nor above the cap", () => {
    const backoff = exponentialBackoff({ baseMs: 100, capMs: 2_000, jitter: { spreadMs: 500 } });
    fc.assert(
      fc.property(fc.integer(), attempts, (seed, attempt) => {
        const pause = backoff.delayMs(attempt, undefined, seededRandom(seed));
        expect(pause).toBeGreaterThanOrEqual(10);
        expect(pause).toBeLessThanOrEqual(2_000);
      }),
    );
  });

  it.each([
    ["backoff.baseMs", () => exponentialBackoff({ baseMs: 0 })],
    ["backoff.factor", () => exponentialBackoff({ factor: 0.5 })],
    ["backoff.capMs", () => exponentialBackoff({ baseMs: 100, capMs: 99 })],
    ["backoff.jitter", () => exponentialBackoff({ jitter: "toString" as never })],
    ["backoff.jitter.addShareMax", () => exponentialBackoff({ jitter: { addShareMax: -1 } })],
    ["backoff.jitter.spreadMs", () => linearBackoff({ jitter: { spreadMs: Number.NaN } })],
    ["backoff.delayMs", () => fixedBackoff({ delayMs: -1 })],
    ["backoff.stepMs", () => linearBackoff({ stepMs: -1 })],
    ["backoff.baseMs", () => fibonacciBackoff({ baseMs: Number.POSITIVE_INFINITY })],
    ["backoff.capMs", () => decorrelatedBackoff({ baseMs: 10, capMs: 1 })],
  ])("refuses a wrong %s at creation, naming it", (field, create) => {
    expect(create).toThrow(InvalidInputError);
    expect(create).toThrow(expect.objectContaining({ field }));
  });
});
