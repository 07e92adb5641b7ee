import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { OUTPUTS_MAX_BYTES, type ShardResult, ShardResults } from "./shard-results.ts";

const result = (output: ShardResult["output"], units = 1): ShardResult => ({
  output,
  totals: { counters: { units }, histograms: {} },
  progress: { done: units, total: units },
});

describe("results of shards", () => {
  it("count each shard once, whatever is reported how often", () => {
    const results = new ShardResults(3);
    expect([results.complete(1, result("x")), results.complete(1, result("y"))]).toEqual([true, false]);
    expect([results.markDead(1), results.markDead(2), results.markDead(2)]).toEqual([false, true, false]);
    expect([
      results.complete(3, result("z")),
      results.complete(-1, result("z")),
      results.complete(0.5, result("z")),
    ]).toEqual([false, false, false]);
    expect([results.completedCount, results.deadCount, results.isComplete]).toEqual([1, 1, false]);
    expect(results.outputs()).toEqual([null, "x"]);
  });

  it("keep the first outputs that fit, the same ones in whatever order they come", () => {
    const sizes = [0.3, 0.3, 0.5, 0.1, 0.2].map((share) => Math.floor(OUTPUTS_MAX_BYTES * share));
    fc.assert(
      fc.property(fc.shuffledSubarray([0, 1, 2, 3, 4], { minLength: 5 }), (order) => {
        const results = new ShardResults(5);
        for (const shard of order) results.complete(shard, result("x".repeat(sizes[shard] ?? 0)));
        expect(results.outputs().map((output) => String(output).length)).toEqual(sizes.slice(0, 2));
        expect(results.outputsOmitted).toBe(3);
        expect(results.totals().counters).toEqual({ units: 5 });
      }),
    );
  });

  it("keep the outputs of a thousand shards at most", () => {
    const results = new ShardResults(1_500);
    for (let shard = 1_499; shard >= 0; shard -= 1) results.complete(shard, result(shard));
    expect(results.outputs()).toHaveLength(1_000);
    expect(results.outputs()[999]).toBe(999);
    expect(results.outputsOmitted).toBe(500);
    expect(results.totals().counters).toEqual({ units: 1_500 });
  });

  it("miss no outputs of shards that returned nothing", () => {
    const results = new ShardResults(1_500);
    for (let shard = 0; shard < 1_500; shard += 1) results.complete(shard, result(null));
    expect(results.outputsOmitted).toBe(0);
  });

  it("leave out measurements with too many names and say so", () => {
    const results = new ShardResults(2);
    const counters = Object.fromEntries(Array.from({ length: 900 }, (_, index) => [`a${index}`, 1]));
    const others = Object.fromEntries(Array.from({ length: 900 }, (_, index) => [`b${index}`, 1]));
    results.complete(0, { ...result(1), totals: { counters, histograms: {} } });
    results.complete(1, { ...result(2), totals: { counters: others, histograms: {} } });
    expect(results.refusedCount).toBe(1);
    expect(Object.keys(results.totals().counters)).toHaveLength(900);
  });
});
