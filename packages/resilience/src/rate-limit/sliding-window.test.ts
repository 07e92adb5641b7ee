import { InvalidInputError } from "@holdfast/kernel";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { SlidingWindow } from "./sliding-window.ts";

describe("SlidingWindow", () => {
  it("grants up to the limit and then tells the exact wait", () => {
    const window = new SlidingWindow({ limit: 2, windowMs: 1_000 });
    expect(window.take(0)).toBe(0);
    expect(window.take(300)).toBe(0);
    expect(window.take(400)).toBe(600);
    expect(window.take(999)).toBe(1);
    expect(window.take(1_000)).toBe(0);
    expect(window.take(1_000)).toBe(300);
  });

  it("tells a request for several permits when the last of them will be free", () => {
    const window = new SlidingWindow({ limit: 3, windowMs: 1_000 });
    window.take(0);
    window.take(100);
    window.take(200);
    expect(window.take(500, 2)).toBe(600);
    expect(window.waitMs(500, 3)).toBe(700);
    expect(window.take(1_100, 2)).toBe(0);
    expect(window.freeCount(1_100)).toBe(0);
  });

  it("never grants more than the limit in any window, and a refused caller succeeds after the told wait", () => {
    const step = fc.record({
      gapMs: fc.integer({ min: 0, max: 300 }),
      count: fc.integer({ min: 1, max: 3 }),
    });
    fc.assert(
      fc.property(
        fc.integer({ min: 3, max: 20 }),
        fc.integer({ min: 1, max: 800 }),
        fc.array(step, { maxLength: 120 }),
        (limit, windowMs, steps) => {
          const window = new SlidingWindow({ limit, windowMs });
          const granted: number[] = [];
          let now = 0;
          for (const { gapMs, count } of steps) {
            now += gapMs;
            const inWindow = granted.filter((at) => at + windowMs > now).length;
            const waitMs = window.take(now, count);
            expect(waitMs === 0).toBe(inWindow + count <= limit);
            if (waitMs > 0) {
              expect(window.waitMs(now + waitMs - 0.5, count)).toBeGreaterThan(0);
              now += waitMs;
              expect(window.take(now, count)).toBe(0);
            }
            for (let index = 0; index < count; index += 1) granted.push(now);
            expect(window.freeCount(now)).toBe(limit - granted.filter((at) => at + windowMs > now).length);
          }
        },
      ),
    );
  });

  it("refuses a limit or a window that makes no sense, naming it", () => {
    expect(() => new SlidingWindow({ limit: 0, windowMs: 1 })).toThrow(InvalidInputError);
    expect(() => new SlidingWindow({ limit: 1.5, windowMs: 1 })).toThrow(/limit must be/);
    expect(() => new SlidingWindow({ limit: 1, windowMs: 0 })).toThrow(/windowMs must be/);
  });
});
