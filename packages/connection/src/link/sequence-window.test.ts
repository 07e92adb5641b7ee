import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { SequenceWindow } from "./sequence-window.ts";

describe("SequenceWindow", () => {
  it("takes each number once, in any order, while no gap is older than its bound", () => {
    fc.assert(
      fc.property(fc.array(fc.nat(40), { maxLength: 120 }), (numbers) => {
        const window = new SequenceWindow({ gapMaxCount: 64 });
        const seen = new Set<number>();
        for (const number of numbers) {
          expect(window.add(BigInt(number))).toBe(!seen.has(number));
          seen.add(number);
        }
      }),
    );
  });

  it("gives up the oldest gap beyond its bound, and never takes a number twice", () => {
    const window = new SequenceWindow({ gapMaxCount: 3 });
    for (const number of [1n, 2n, 4n, 6n]) expect(window.add(number)).toBe(true);
    expect(window.add(0n)).toBe(false);
    expect(window.add(3n)).toBe(true);
    for (const number of [1n, 2n, 3n, 4n, 6n]) expect(window.add(number)).toBe(false);
    expect(window.add(5n)).toBe(true);
  });
});
