import { seededRandom } from "@holdfast/kernel";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { backoffCeilingMs, backoffMs, clipError, FAILURE_MAX_BYTES } from "./task-draft.ts";

describe("the backoff of a task", () => {
  it("doubles from its base up to its cap by default", () => {
    const backoff = { baseMs: 1000, factor: 2, capMs: 60_000 };
    expect([1, 2, 3, 6, 7, 8, 1000].map((attempt) => backoffCeilingMs(backoff, attempt))).toEqual([
      1000, 2000, 4000, 32_000, 60_000, 60_000, 60_000,
    ]);
  });

  it("lies between half of its ceiling and its ceiling, and stays finite for every setting", () => {
    fc.assert(
      fc.property(
        fc.record({
          baseMs: fc.double({ min: 0, max: 1e10, noNaN: true }),
          factor: fc.double({ min: 1, max: 100, noNaN: true }),
          capMs: fc.double({ min: 0, max: 3e10, noNaN: true }),
        }),
        fc.integer({ min: 0, max: 1000 }),
        fc.integer(),
        (backoff, attempt, seed) => {
          const ceiling = backoffCeilingMs(backoff, attempt);
          const waited = backoffMs(backoff, attempt, seededRandom(seed));
          expect(Number.isFinite(waited)).toBe(true);
          expect(waited).toBeLessThanOrEqual(ceiling);
          expect(waited).toBeGreaterThanOrEqual(ceiling / 2);
          expect(ceiling).toBeLessThanOrEqual(backoff.capMs);
        },
      ),
    );
  });
});

describe("a recorded error", () => {
  it("is kept whole up to 4 KiB and clipped to that above, for any JSON", () => {
    fc.assert(
      fc.property(fc.jsonValue(), fc.integer({ min: 0, max: 3000 }), (value, repeat) => {
        const error = JSON.parse(JSON.stringify({ value, long: '"ü🚀\n\u0000'.repeat(repeat) }));
        const text = clipError(error);
        expect(Buffer.byteLength(text)).toBeLessThanOrEqual(FAILURE_MAX_BYTES);
        const whole = JSON.stringify(error);
        if (Buffer.byteLength(whole) <= FAILURE_MAX_BYTES) expect(text).toBe(whole);
        else expect(JSON.parse(text)).toMatchObject({ truncated: true });
      }),
    );
  });
});
