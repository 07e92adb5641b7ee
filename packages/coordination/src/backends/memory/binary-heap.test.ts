import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { BinaryHeap } from "./binary-heap.ts";

describe("a binary heap", () => {
  it("gives its items in order, also after some were dropped", () => {
    fc.assert(
      fc.property(fc.array(fc.integer()), (numbers) => {
        const heap = new BinaryHeap<number>((a, b) => a < b);
        for (const number of numbers) heap.push(number);
        heap.retain((number) => number % 3 !== 0);
        const drained: number[] = [];
        for (let top = heap.pop(); top !== undefined; top = heap.pop()) drained.push(top);
        const kept = numbers.filter((number) => number % 3 !== 0);
        expect(drained).toEqual(kept.sort((a, b) => a - b));
        expect(heap.size).toBe(0);
        expect(heap.peek()).toBeUndefined();
      }),
    );
  });
});
