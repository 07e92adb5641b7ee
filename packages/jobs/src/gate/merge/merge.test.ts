import type { EncodedHistogram, JobStatus, Measurements, WorkflowResult } from "@holdfast/protocol/contract";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { approximateBytes } from "../../model/approximate-bytes.ts";
import { Histogram } from "../../model/histogram.ts";
import { fitWorkflowResults } from "./fit-result.ts";
import { mergeJobResult } from "./job-result.ts";
import { mergeJobStatus, mergeWorkflowStatus } from "./job-status.ts";
import { jobFraction, sumProgress } from "./progress.ts";
import { mergeWorkflowResults } from "./workflow-result.ts";

const workflow = { id: "wf-1", name: "n", workflow: "w" };

const measured = (values: readonly number[], counters: Record<string, number>): Measurements => {
  const histogram = new Histogram();
  for (const value of values) histogram.record(value);
  return { counters, histograms: values.length === 0 ? {} : { latency: histogram.encode() } };
};

const values = fc.array(fc.double({ min: 0.001, max: 100_000, noNaN: true }), { maxLength: 60 });
const counters = fc.dictionary(fc.constantFrom("a", "b", "c"), fc.nat(1_000));
const part = fc.record({
  status: fc.constantFrom("completed" as const, "failed" as const, "cancelled" as const),
  completed: fc.nat(50),
  failed: fc.nat(50),
  elapsedMs: fc.nat(10_000),
  values,
  counters,
});

const resultOf = (input: {
  readonly status: WorkflowResult["status"];
  readonly completed: number;
  readonly failed: number;
  readonly elapsedMs: number;
  readonly values: readonly number[];
  readonly counters: Record<string, number>;
}): WorkflowResult => ({
  workflowId: workflow.id,
  name: workflow.name,
  workflow: workflow.workflow,
  status: input.status,
  shards: { total: input.completed + input.failed, completed: input.completed, failed: input.failed },
  outputs: [],
  totals: measured(input.values, input.counters),
  elapsedMs: input.elapsedMs,
});

const nameOf = (index: number): string => `dc-${index}`;

describe("the merged result of a workflow", () => {
  it("has totals equal to the sum of the parts", () => {
    fc.assert(
      fc.property(fc.array(part, { minLength: 1, maxLength: 5 }), (parts) => {
        const merged = mergeWorkflowResults(
          workflow,
          parts.map((input, index) => ({ datacenter: nameOf(index), result: resultOf(input) })),
          "require-all",
        );
        const sum = (of: (input: (typeof parts)[number]) => number) =>
          parts.reduce((total, input) => total + of(input), 0);
        expect(merged.shards).toEqual({
          total: sum(({ completed, failed }) => completed + failed),
          completed: sum(({ completed }) => completed),
          failed: sum(({ failed }) => failed),
        });
        for (const name of ["a", "b", "c"]) {
          expect(merged.totals.counters[name] ?? 0).toBe(sum((input) => input.counters[name] ?? 0));
        }
        expect(merged.elapsedMs).toBe(Math.max(...parts.map(({ elapsedMs }) => elapsedMs)));
        expect(merged.totals.histograms["latency"]?.count ?? 0).toBe(sum((input) => input.values.length));
      }),
    );
  });

  it("has the percentiles of the pooled raw values, within the stated error", () => {
    fc.assert(
      fc.property(fc.array(part, { minLength: 2, maxLength: 4 }), (parts) => {
        const pooled = parts.flatMap((input) => input.values).sort((a, b) => a - b);
        fc.pre(pooled.length > 0);
        const merged = mergeWorkflowResults(
          workflow,
          parts.map((input, index) => ({ datacenter: nameOf(index), result: resultOf(input) })),
          "require-all",
        );
        const latency = merged.totals.histograms["latency"];
        for (const [share, value] of [
          [0.5, latency?.p50],
          [0.9, latency?.p90],
          [0.99, latency?.p99],
        ] as const) {
          const exact = pooled[Math.max(0, Math.ceil(share * pooled.length - 1e-9) - 1)] as number;
          expect(Math.abs((value as number) - exact)).toBeLessThanOrEqual(Math.max(0.002, exact * 0.002));
        }
      }),
    );
  });

  it("names the datacenter of an error and of a missing part", () => {
    const failed = {
      ...resultOf({ status: "failed", completed: 0, failed: 1, elapsedMs: 1, values: [], counters: {} }),
      error: { code: "X", message: "disk full", retryable: false },
    };
    const merged = mergeWorkflowResults(
      workflow,
      [
        { datacenter: "east", result: failed },
        { datacenter: "west", result: undefined },
      ],
      "require-all",
    );
    expect(merged).toMatchObject({ status: "failed", error: { code: "X", message: "east: disk full" } });
    expect(Object.keys(merged.datacenters ?? {})).toEqual(["east"]);
    expect(
      mergeWorkflowResults(workflow, [{ datacenter: "west", result: undefined }], "allow-partial"),
    ).toMatchObject({
      status: "failed",
      error: { message: "west: missing result" },
    });
  });

  it("is made even when one datacenter sends a histogram that is none", () => {
    const good = resultOf({
      status: "completed",
      completed: 1,
      failed: 0,
      elapsedMs: 1,
      values: [5],
      counters: { a: 1 },
    });
    const bad: WorkflowResult = {
      ...good,
      totals: {
        counters: { a: 7 },
        histograms: {
          latency: { ...(good.totals.histograms["latency"] as EncodedHistogram), encoded: "AAAA" },
        },
      },
    };
    const merged = mergeWorkflowResults(
      workflow,
      [
        { datacenter: "east", result: bad },
        { datacenter: "west", result: good },
      ],
      "require-all",
    );
    expect(merged.totals.counters).toEqual({ a: 1 });
    expect(merged.error?.message).toMatch(/^east: /);
  });

  it("keeps the first 1000 outputs, in the order of the datacenters", () => {
    const outputs = (from: number) => Array.from({ length: 700 }, (_, index) => from + index);
    const base = resultOf({
      status: "completed",
      completed: 1,
      failed: 0,
      elapsedMs: 1,
      values: [],
      counters: {},
    });
    const merged = mergeWorkflowResults(
      workflow,
      [
        { datacenter: "east", result: { ...base, outputs: outputs(0) } },
        { datacenter: "west", result: { ...base, outputs: outputs(10_000), outputsOmitted: 7 } },
      ],
      "require-all",
    );
    expect(merged.outputs.length).toBe(1_000);
    expect(merged.outputs[700]).toBe(10_000);
    expect(merged.outputsOmitted).toBe(400 + 7);
  });
});

describe("the status of a job over datacenters", () => {
  const status = fc.constantFrom<JobStatus>(
    "completed",
    "partial",
    "failed",
    "cancelled",
    "timeout",
    "running",
  );

  it("is failed before cancelled before timeout before completed, in any order", () => {
    fc.assert(
      fc.property(fc.array(status, { minLength: 1, maxLength: 6 }), (statuses) => {
        const merged = mergeJobStatus(statuses, "require-all");
        const has = (...wanted: JobStatus[]) => statuses.some((one) => wanted.includes(one));
        const expected = has("failed")
          ? "failed"
          : has("cancelled")
            ? "cancelled"
            : has("timeout", "running")
              ? "timeout"
              : has("partial")
                ? "partial"
                : "completed";
        expect(merged).toBe(expected);
        expect(mergeJobStatus([...statuses].reverse(), "require-all")).toBe(merged);
      }),
    );
  });

  it("is partial when part of it may fail and something succeeded", () => {
    expect(mergeJobStatus(["completed", "failed"], "allow-partial")).toBe("partial");
    expect(mergeJobStatus(["completed", "timeout"], "allow-partial")).toBe("partial");
    expect(mergeJobStatus(["completed", "completed"], "allow-partial")).toBe("completed");
    expect(mergeJobStatus(["failed", "timeout"], "allow-partial")).toBe("failed");
    expect(mergeWorkflowStatus(["completed", undefined], "allow-partial")).toBe("completed");
    expect(mergeWorkflowStatus(["completed", undefined], "require-all")).toBe("failed");
    expect(mergeWorkflowStatus(["completed", "cancelled"], "require-all")).toBe("cancelled");
  });
});

describe("the result of a job", () => {
  const spec = {
    name: "job",
    workflows: [{ ...workflow, input: {}, dependsOn: [], priority: "auto" as const }],
    vus: 1,
    timeoutMs: 1,
    datacenters: [],
    datacenterCount: 1,
    policy: "require-all" as const,
    reporting: [],
    labels: {},
  };

  it("counts a datacenter that never said how it ended as timed out, and prefixes errors", () => {
    const base = { elapsedMs: 5, error: undefined, results: new Map<string, WorkflowResult>() };
    const result = mergeJobResult({
      jobId: "j",
      spec,
      parts: [
        { ...base, datacenter: "east", status: "completed", errors: ["odd"] },
        { ...base, datacenter: "west", status: "running", errors: [] },
      ],
      errors: ["said by the gate"],
      submittedAt: 100,
      finishedAt: 350,
    });
    expect(result).toMatchObject({
      status: "timeout",
      elapsedMs: 250,
      errors: ["said by the gate", "east: odd", "west: missing final result"],
      datacenters: { east: { status: "completed" }, west: { status: "timeout" } },
    });
  });

  it("has the workflows that only a datacenter knew of, and misses them nowhere else", () => {
    const base = { elapsedMs: 5, error: undefined, errors: [], status: "completed" as const };
    const own = resultOf({
      status: "completed",
      completed: 1,
      failed: 0,
      elapsedMs: 1,
      values: [],
      counters: { a: 1 },
    });
    const extra = { ...own, workflowId: "wf-2", name: "added" };
    const result = mergeJobResult({
      jobId: "j",
      spec,
      parts: [
        {
          ...base,
          datacenter: "east",
          results: new Map([
            ["wf-1", own],
            ["wf-2", extra],
          ]),
        },
        { ...base, datacenter: "west", results: new Map([["wf-1", own]]) },
      ],
      errors: [],
      submittedAt: 0,
      finishedAt: 1,
    });
    expect(result.workflows).toMatchObject([
      { name: "n", status: "completed", totals: { counters: { a: 2 } } },
      { name: "added", status: "completed", totals: { counters: { a: 1 } } },
    ]);
  });

  it("keeps a bound on its errors and says how many are left out", () => {
    const errors = Array.from({ length: 300 }, (_, index) => `e${index}`);
    const base = { elapsedMs: 5, error: undefined, results: new Map<string, WorkflowResult>() };
    const result = mergeJobResult({
      jobId: "j",
      spec,
      parts: [{ ...base, datacenter: "east", status: "failed", errors }],
      errors: [],
      submittedAt: 0,
      finishedAt: 1,
    });
    expect(result.errors.length).toBe(201);
    expect(result.errors.at(-1)).toBe("and 100 more errors");
  });

  it("fits one log entry, giving up the parts, then outputs, then histograms, and says so", () => {
    const large = (bytes: number): WorkflowResult => ({
      ...resultOf({
        status: "completed",
        completed: 1,
        failed: 0,
        elapsedMs: 1,
        values: [1],
        counters: { a: 1 },
      }),
      outputs: ["x".repeat(bytes)],
    });
    const results = [large(1_000), large(50_000), large(50_000)];
    const { workflows, notes } = fitWorkflowResults(results, 60_000);
    expect(approximateBytes(workflows)).toBeLessThan(60_100);
    expect(workflows.map(({ outputs }) => outputs.length)).toEqual([1, 1, 0]);
    expect(workflows.map(({ totals }) => totals.counters)).toEqual([{ a: 1 }, { a: 1 }, { a: 1 }]);
    expect(notes).toEqual(["the outputs of 1 workflows are left out here: the result would be too large"]);
    expect(fitWorkflowResults(results).workflows).toEqual(results);
  });
});

describe("progress", () => {
  it("sums over datacenters and counts ended ones fully, started ones half", () => {
    const live = (done: number, total: number) => ({
      status: "running" as const,
      done,
      total,
      shards: { total: 1, completed: 0, failed: 0, running: 1 },
      counters: { a: done },
    });
    expect(sumProgress([live(1, 10), live(5, 20)])).toEqual({
      done: 6,
      total: 30,
      shards: { total: 2, completed: 0, failed: 0, running: 2 },
      counters: { a: 6 },
    });
    expect(
      jobFraction([
        { isEnded: true, isStarted: true, progress: { done: 0, total: 0 } },
        { isEnded: false, isStarted: true, progress: { done: 0, total: 0 } },
        { isEnded: false, isStarted: true, progress: { done: 5, total: 20 } },
        { isEnded: false, isStarted: false, progress: { done: 0, total: 0 } },
      ]),
    ).toBe((1 + 0.5 + 0.25) / 4);
  });
});
