import { describe, expect, it } from "vitest";
import { fromHalf, toHalf } from "./half-float.ts";

describe("half floats", () => {
  it("keep all 65,536 forms over a round trip", () => {
    for (let half = 0; half < 0x10000; half += 1) {
      const isNumber = (half & 0x7c00) !== 0x7c00 || (half & 0x3ff) === 0;
      if (!isNumber) expect(Number.isNaN(fromHalf(half))).toBe(true);
      else if (toHalf(fromHalf(half)) !== half) expect(toHalf(fromHalf(half))).toBe(half);
    }
  });

  it("round to the nearest, ties to even, and overflow to infinity only past the middle", () => {
    expect(fromHalf(toHalf(1 + 1 / 2048))).toBe(1);
    expect(fromHalf(toHalf(1 + 3 / 2048))).toBe(1 + 2 / 1024);
    expect(fromHalf(toHalf(65_519))).toBe(65_504);
    expect(fromHalf(toHalf(65_520))).toBe(Number.POSITIVE_INFINITY);
    expect(fromHalf(toHalf(2 ** -25))).toBe(0);
    expect(fromHalf(toHalf(2 ** -25 * 1.5))).toBe(2 ** -24);
    expect(Object.is(fromHalf(toHalf(-0)), -0)).toBe(true);
  });
});
