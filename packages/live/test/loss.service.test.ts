import { describeService } from "@holdfast/testkit/vitest";
import { describe, expect, it } from "vitest";
import { problemsOf, runWithLosses } from "./loss-run.ts";

describe("what counts as a loss", () => {
  it("is a published number that is missing without a gap, a repeat, or a missing end", () => {
    const published = new Set([1, 2, 3, 5, 6]);
    const found = (story: (number | "gap")[]) =>
      problemsOf(story, published, 6).map(
        ({ problem, isLate }) => `${problem}${isLate ? ", told late" : ""}`,
      );
    expect(found([1, 2, 3, 5, 6])).toEqual([]);
    // The fourth was never answered for: it may be there or not, and late.
    expect(found([1, 2, 3, 4, 5, 6])).toEqual([]);
    expect(found([1, 2, 3, 5, 4, 6])).toEqual([]);
    expect(found([1, "gap", 5, 6])).toEqual([]);
    expect(found([1, 3, 5, 6])).toEqual(["2 is missing before 3"]);
    expect(found([1, 3, "gap", 5, 6])).toEqual(["2 is missing before 3, told late"]);
    expect(found(["gap", 1, 3, 5, 6])).toEqual(["2 is missing before 3"]);
    expect(found([2, 3, 5, 6])).toEqual(["1 is missing before 2"]);
    expect(found([1, 2, 2, 3, 5, 6])).toEqual(["2 came twice"]);
    expect(found([1, 2, 3, 5])).toEqual(["6, the last one, is missing"]);
  });
});

describeService("redis", "200 clients, 50 channels and three servers over a Redis with Sentinels", () => {
  it("lose nothing in silence over cuts, killed servers, a restart and a failover of Redis", async () => {
    const report = await runWithLosses({
      seed: 1,
      seconds: 5,
      clientCount: 200,
      channelCount: 50,
      serverCount: 3,
    });
    expect(report.violations).toEqual([]);
    expect(Object.keys(report.faults).length).toBeGreaterThanOrEqual(5);
    expect(report.published).toBeGreaterThan(100);
    expect(report.recovered).toBeGreaterThan(0);
  }, 900_000);
});
