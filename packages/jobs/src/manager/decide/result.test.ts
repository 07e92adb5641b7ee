import { describe, expect, it } from "vitest";
import { newJob, workflowSpec } from "../../../test/manager/job-states.ts";
import { Histogram } from "../../model/histogram.ts";
import type { JobState } from "../job-state.ts";
import { noEffects } from "./effects.ts";
import { jobResultOf, RESULT_MAX_BYTES } from "./result.ts";
import { completeShard } from "./shard-ends.ts";
import { startJob } from "./start-workflows.ts";

const jobOf = (count: number): JobState =>
  newJob(Array.from({ length: count }, (_, index) => workflowSpec(`${index}`)));

const finish = (job: JobState, outputLength: number, histogramCount: number): void => {
  const wide = new Histogram();
  for (let value = 1; value < 5_000; value += 1) wide.record(value * 1.37);
  const histograms = Object.fromEntries(
    Array.from({ length: histogramCount }, (_, index) => [`h${index}`, wide.encode()]),
  );
  startJob(job, noEffects(), 1);
  for (const { index } of job.workflows) {
    const result = {
      output: "x".repeat(outputLength),
      totals: { counters: { units: 1 }, histograms },
      progress: { done: 1, total: 1 },
    };
    completeShard(job, index, { shard: 0, result }, noEffects(), 2);
  }
};

describe("the result of a job", () => {
  it("holds everything while it fits", () => {
    const job = jobOf(10);
    finish(job, 1_000, 1);
    const result = jobResultOf(job);
    expect(result.errors).toEqual([]);
    expect(result.workflows.every(({ outputs }) => outputs.length === 1)).toBe(true);
  });

  it("leaves outputs of the last workflows out before it becomes too large, and says so", () => {
    const job = jobOf(100);
    finish(job, 20_000, 0);
    const result = jobResultOf(job);
    expect(JSON.stringify(result).length).toBeLessThan(RESULT_MAX_BYTES * 1.1);
    expect(result.workflows).toHaveLength(100);
    expect(result.workflows[0]?.outputs).toHaveLength(1);
    expect(result.workflows[99]?.outputs).toHaveLength(0);
    expect(result.workflows.every(({ totals }) => totals.counters["units"] === 1)).toBe(true);
    expect(result.errors).toEqual([expect.stringContaining("left out")]);
  });

  it("leaves histograms out only after all outputs that must go", () => {
    const job = jobOf(200);
    finish(job, 10, 8);
    const result = jobResultOf(job);
    expect(JSON.stringify(result).length).toBeLessThan(RESULT_MAX_BYTES * 1.1);
    expect(Object.keys(result.workflows[0]?.totals.histograms ?? {})).toHaveLength(8);
    expect(result.workflows[199]?.totals).toEqual({ counters: { units: 1 }, histograms: {} });
  });
});
