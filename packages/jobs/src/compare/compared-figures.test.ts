import { describe, expect, it } from "vitest";
import type { ComparedWorkflow } from "./compare-results.ts";
import { comparedFigures, formatChange, formatFigure } from "./compared-figures.ts";
import { differenceOf } from "./quantile-difference.ts";

const both: ComparedWorkflow = {
  name: "get",
  statusA: "completed",
  statusB: "completed",
  elapsedMs: differenceOf(10_000, 9_000),
  histograms: [
    {
      name: "latency",
      count: differenceOf(5, 5),
      mean: differenceOf(2, 3),
      max: differenceOf(9, 9),
      percentiles: [{ percent: 99.9, ...differenceOf(8, 4), isSignificant: undefined }],
    },
  ],
  counters: [
    {
      name: "requests",
      total: differenceOf(5, 5),
      perSecond: { ...differenceOf(0, 2), isSignificant: true },
    },
  ],
  onlyInA: [],
  onlyInB: [],
};

describe("the figures of a comparison", () => {
  it("come in the order of reading, and say which were tested against chance", () => {
    const shown = comparedFigures(both).map(({ name, unit, isTested, difference }) => [
      name,
      unit,
      isTested,
      formatChange(difference),
    ]);
    expect(shown).toEqual([
      ["elapsed", "ms", false, "-10.0 %"],
      ["requests per second", "number", true, "new"],
      ["latency mean", "number", false, "+50.0 %"],
      ["latency p99.9", "number", true, "-50.0 %"],
      ["latency max", "number", false, "0.0 %"],
    ]);
  });

  it("are none where one of the two has no such workflow", () => {
    expect(comparedFigures({ ...both, statusB: undefined, elapsedMs: undefined })).toEqual([]);
  });

  it("have four digits, and no sign where they do not change", () => {
    expect([0.123456, 12.3456, 1_234_567.8, 0].map(formatFigure)).toEqual([
      "0.1235",
      "12.35",
      "1,234,568",
      "0",
    ]);
    expect(formatChange(differenceOf(100_000, 99_999))).toBe("0.0 %");
  });
});
