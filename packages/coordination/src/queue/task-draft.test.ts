import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { BACKOFF_DEFAULT, backoffMs, clipError, FAILURE_MAX_BYTES } from "./task-draft.ts";
import { BACKOFF_KINDS, JITTER_KINDS } from "./task-queue.ts";

describe("the backoff of a task", () => {
  const waits = (backoff: Partial<typeof BACKOFF_DEFAULT>, attempts: readonly number[]): readonly number[] =>
    attempts.map((attempt) =>
      Math.round(
        backoffMs({ ...BACKOFF_DEFAULT, jitter: "none", capMs: 60_000, ...backoff }, attempt, 0.5, undefined),
      ),
    );

  it("doubles from its base up to its cap by default", () => {
    expect(waits({}, [1, 2, 3, 6, 7, 8, 1000])).toEqual([1000, 2000, 4000, 32_000, 60_000, 60_000, 60_000]);
  });

  it("stays, grows evenly or grows like Fibonacci's numbers where that is asked for", () => {
    expect(waits({ factor: 1 }, [1, 2, 9])).toEqual([1000, 1000, 1000]);
    expect(waits({ kind: "linear", factor: 1 }, [1, 2, 3, 4])).toEqual([1000, 2000, 3000, 4000]);
    expect(waits({ kind: "fibonacci" }, [1, 2, 3, 4, 5, 6])).toEqual([1000, 1000, 2000, 3000, 5000, 8000]);
  });

  it("grows from the wait before when it is decorrelated", () => {
    const backoff = { ...BACKOFF_DEFAULT, kind: "decorrelated" as const };
    expect(backoffMs(backoff, 1, 0, undefined)).toBe(1000);
    expect(backoffMs(backoff, 1, 0.5, undefined)).toBe(2000);
    expect(backoffMs(backoff, 2, 0.5, 4000)).toBe(6500);
    expect(backoffMs(backoff, 9, 0.99, 50_000)).toBe(60_000);
  });

  it("is shortened by up to half, by all or by nothing, and stays finite for every setting", () => {
    fc.assert(
      fc.property(
        fc.record({
          baseMs: fc.double({ min: 0, max: 1e10, noNaN: true }),
          factor: fc.double({ min: 1, max: 100, noNaN: true }),
          capMs: fc.double({ min: 0, max: 3e10, noNaN: true }),
          kind: fc.constantFrom(...BACKOFF_KINDS.slice(0, 3)),
          jitter: fc.constantFrom(...JITTER_KINDS),
        }),
        fc.integer({ min: 0, max: 1000 }),
        fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }),
        (backoff, attempt, chance) => {
          const ceiling = backoffMs({ ...backoff, jitter: "none" }, attempt, chance, undefined);
          const waited = backoffMs(backoff, attempt, chance, undefined);
          expect(Number.isFinite(waited)).toBe(true);
          expect(waited).toBeLessThanOrEqual(ceiling);
          expect(waited).toBeGreaterThanOrEqual(
            { none: ceiling, half: ceiling / 2, full: 0 }[backoff.jitter],
          );
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
