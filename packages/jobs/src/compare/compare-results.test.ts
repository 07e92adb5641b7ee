import { isHoldfastError, seededRandom } from "@holdfast/kernel";
import type { JobResult, WorkflowResult } from "@holdfast/protocol/contract";
import { describe, expect, it } from "vitest";
import { Histogram } from "../model/histogram.ts";
import { compareResults } from "./compare-results.ts";

const workflow = (
  name: string,
  totals: WorkflowResult["totals"],
  options: Partial<WorkflowResult> = {},
): WorkflowResult => ({
  workflowId: `wf-${name}`,
  name,
  workflow: name,
  status: "completed",
  shards: { total: 1, completed: 1, failed: 0 },
  outputs: [],
  totals,
  elapsedMs: 10_000,
  ...options,
});

const job = (jobId: string, workflows: readonly WorkflowResult[]): JobResult => ({
  jobId,
  name: "load",
  status: "completed",
  workflows: [...workflows],
  datacenters: {},
  errors: [],
  submittedAt: 0,
  finishedAt: 10_000,
  elapsedMs: 10_000,
});

/** Latencies with a long tail: exponential around `mean`. */
const sample = (seed: number, mean: number, count: number) => {
  const random = seededRandom(seed);
  const values = new Histogram();
  for (let index = 0; index < count; index += 1) values.record(-mean * Math.log(1 - random.next()));
  return values.encode();
};

const runOf = (jobId: string, latency: ReturnType<typeof sample>, requests = latency.count) =>
  job(jobId, [workflow("get", { counters: { requests }, histograms: { latency } })]);

const latencyOf = (a: JobResult, b: JobResult) => {
  const histogram = compareResults(a, b).workflows[0]?.histograms[0];
  if (histogram === undefined) throw new Error("no histogram was compared");
  return histogram;
};

describe("two results", () => {
  it("are told apart where a percentile moved by a tenth, with its change", () => {
    const { percentiles } = latencyOf(runOf("a", sample(1, 20, 20_000)), runOf("b", sample(2, 22, 20_000)));
    expect(percentiles.map(({ percent }) => percent)).toEqual([50, 90, 95, 99, 99.9]);
    for (const { percent, isSignificant, change } of percentiles.filter((figure) => figure.percent < 99.5)) {
      expect(isSignificant, `p${percent}`).toBe(true);
      expect(change, `p${percent}`).toBeGreaterThan(0.04);
      expect(change, `p${percent}`).toBeLessThan(0.17);
    }
  });

  it("of the same distribution are called different no more often than the level says", () => {
    let called = 0;
    let tested = 0;
    for (let seed = 0; seed < 150; seed += 1) {
      const { percentiles } = latencyOf(
        runOf("a", sample(1_000 + 2 * seed, 20, 3_000)),
        runOf("b", sample(1_001 + 2 * seed, 20, 3_000)),
      );
      for (const { percent, isSignificant } of percentiles) {
        if (percent > 99) continue;
        tested += 1;
        if (isSignificant === true) called += 1;
      }
    }
    // One in a hundred is expected; three in a hundred of 600 would be far beyond chance.
    expect(tested).toBe(600);
    expect(called / tested).toBeLessThan(0.03);
  });

  it("say that it cannot be told where too few values stand behind a percentile", () => {
    const { percentiles } = latencyOf(runOf("a", sample(1, 20, 200)), runOf("b", sample(2, 40, 200)));
    expect(percentiles.find(({ percent }) => percent === 99.9)?.isSignificant).toBeUndefined();
    expect(percentiles.find(({ percent }) => percent === 50)?.isSignificant).toBe(true);
  });

  it("never take a difference below the histogram's resolution for one", () => {
    const constant = (value: number) => {
      const values = new Histogram();
      for (let index = 0; index < 10_000; index += 1) values.record(value);
      return values.encode();
    };
    const { percentiles } = latencyOf(runOf("a", constant(1_000)), runOf("b", constant(1_000.4)));
    expect(percentiles[0]?.isSignificant).toBe(false);
    const apart = latencyOf(runOf("a", constant(1_000)), runOf("b", constant(1_100)));
    expect(apart.percentiles[0]?.isSignificant).toBe(true);
  });

  it("compare counters by their rate per second", () => {
    const latency = sample(1, 20, 5_000);
    const [counter] =
      compareResults(runOf("a", latency, 5_000), runOf("b", latency, 6_000)).workflows[0]?.counters ?? [];
    expect(counter).toMatchObject({
      name: "requests",
      total: { a: 5_000, b: 6_000, change: 0.2 },
      perSecond: { a: 500, b: 600, isSignificant: true },
    });
    const [same] =
      compareResults(runOf("a", latency, 5_000), runOf("b", latency, 5_050)).workflows[0]?.counters ?? [];
    expect(same?.perSecond.isSignificant).toBe(false);
    const [few] = compareResults(runOf("a", latency, 3), runOf("b", latency, 1)).workflows[0]?.counters ?? [];
    expect(few?.perSecond.isSignificant).toBeUndefined();
  });

  it("name what only one of them has", () => {
    const latency = sample(1, 20, 100);
    const a = job("a", [
      workflow("get", { counters: { hits: 1 }, histograms: { latency } }),
      workflow("old", { counters: {}, histograms: {} }),
    ]);
    const b = job("b", [
      workflow("get", { counters: { misses: 1 }, histograms: {} }),
      workflow("new", { counters: {}, histograms: {} }, { status: "failed" }),
    ]);
    const { workflows } = compareResults(a, b);
    expect(workflows.map(({ name, statusA, statusB }) => [name, statusA, statusB])).toEqual([
      ["get", "completed", "completed"],
      ["old", "completed", undefined],
      ["new", undefined, "failed"],
    ]);
    expect(workflows[0]).toMatchObject({ onlyInA: ["latency", "hits"], onlyInB: ["misses"] });
  });

  it("are refused with a level that is none, naming it", () => {
    const latency = sample(1, 20, 100);
    const run = runOf("a", latency);
    expect(() => compareResults(run, run, { level: 0.5 as 0.05 })).toThrow(/level.*0\.5/);
    try {
      compareResults(run, run, { level: 0.5 as 0.05 });
    } catch (error) {
      expect(isHoldfastError(error) && error.retryable).toBe(false);
    }
  });
});
