import type { JobEvent, Measurements, WorkflowResult } from "@holdfast/protocol/contract";
import { describe, expect, it } from "vitest";
import {
  emptyProjection,
  jobFraction,
  projectEvent,
  WINDOWS_KEPT,
  workflowTotals,
} from "./job-projection.ts";

const project = (...events: readonly JobEvent[]) => events.reduce(projectEvent, emptyProjection);
const nothing: Measurements = { counters: {}, histograms: {} };

const status = (datacenter: string | undefined, name: string, total: number, completed = 0): JobEvent => ({
  type: "workflow.status",
  at: 1_000,
  ...(datacenter === undefined ? {} : { datacenter }),
  workflowId: name,
  name,
  status: "running",
  shards: { total, completed, failed: 0 },
});

const window = (datacenter: string, name: string, at: number, done: number, total: number): JobEvent => ({
  type: "window",
  at,
  datacenter,
  workflowId: name,
  windowStart: at,
  windowMs: 500,
  progress: { done, total },
  shards: { total: 2, completed: 0, failed: 0, running: 2 },
  workerCount: 1,
  counters: { errors: 1 },
  histograms: {},
});

const merged = (name: string): JobEvent => {
  const shards = { total: 2, completed: 1, failed: 1 };
  const part = { status: "failed" as const, shards, totals: nothing, elapsedMs: 5 };
  const result: WorkflowResult = {
    workflowId: name,
    name,
    workflow: name,
    status: "failed",
    shards: { total: 4, completed: 2, failed: 2 },
    outputs: [],
    totals: nothing,
    elapsedMs: 5,
    error: { code: "X", message: "it broke", retryable: false },
    datacenters: { east: part, west: part },
  };
  return { type: "workflow.result", at: 3_000, result };
};

describe("the projection of a job's log", () => {
  it("leaves the projection that it was given as it was", () => {
    const before = project(status("east", "a", 2));
    const copy = structuredClone(before);
    projectEvent(before, window("east", "a", 2_000, 10, 100));
    expect(before).toEqual(copy);
  });

  it("sums a workflow over its datacenters, with the rate from what was done since the last window", () => {
    const projection = project(
      status("east", "a", 2),
      status("west", "a", 2),
      window("east", "a", 2_000, 50, 100),
      window("west", "a", 2_000, 100, 300),
    );
    const workflow = projection.workflows["a"];
    expect(workflow && workflowTotals(workflow)).toMatchObject({ done: 150, total: 400, rate: 300 });
    expect(jobFraction(projection)).toBeCloseTo(150 / 400);
  });

  it("spreads what was done while nothing was reported over that time, and calls it no burst", () => {
    const first = project(status("east", "a", 2), window("east", "a", 2_000, 100, 10_000));
    const later = projectEvent(first, window("east", "a", 20_000, 3_700, 10_000));
    const point = later.workflows["a"]?.cells["east"]?.windows.at(-1);
    expect(point).toMatchObject({ rate: 200, spanMs: 18_000, windowMs: 500, errorRate: 1 / 18 });
    expect(workflowTotals(later.workflows["a"] as never)).toMatchObject({ done: 3_700, rate: 200 });
    // Another manager's first window may begin before the last one of the manager before.
    const again = projectEvent(later, window("east", "a", 20_000, 3_800, 10_000));
    expect(again.workflows["a"]?.cells["east"]?.windows.at(-1)).toMatchObject({ rate: 200, spanMs: 500 });
  });

  it("leaves a workflow that failed at the shards that were whole, whatever part of the units it knew of", () => {
    const before = project(status("east", "a", 2), window("east", "a", 2_000, 1, 1));
    expect(jobFraction(before)).toBe(1);
    expect(
      jobFraction(project(status("east", "a", 2), window("east", "a", 2_000, 1, 1), merged("a"))),
    ).toBeCloseTo(1 / 2);
  });

  it("takes a merged result into the datacenters that it names, and shows no datacenter that is none", () => {
    const projection = project(status("east", "a", 2), status("west", "a", 2), merged("a"));
    const workflow = projection.workflows["a"];
    expect(Object.keys(workflow?.cells ?? {})).toEqual(["east", "west"]);
    expect(workflow?.cells["east"]).toMatchObject({
      status: "failed",
      shards: { completed: 1, failed: 1, running: 0 },
    });
    expect(workflow?.status).toBe("failed");
    expect(workflow?.error).toBe("it broke");
  });

  it("shows a single datacenter without a gate under the empty name", () => {
    expect(Object.keys(project(status(undefined, "a", 2)).workflows["a"]?.cells ?? {})).toEqual([""]);
  });

  it("takes the job's own status from the gate, not from a datacenter", () => {
    const projection = project(
      { type: "job.status", at: 1, status: "running" },
      { type: "job.status", at: 2, datacenter: "east", status: "failed" },
    );
    expect(projection.status).toBe("running");
  });

  it("counts an attempt that will be tried again as a retry, and one that will not be as none", () => {
    const failure = {
      type: "shard.retry" as const,
      at: 1,
      workflowId: "a",
      shard: 0,
      attempt: 1,
      worker: "w",
      error: { code: "X", message: "no", retryable: true },
    };
    expect(project({ ...failure, retryInMs: 100 }, failure).retryCount).toBe(1);
  });

  it("keeps a bounded number of windows", () => {
    const events = Array.from({ length: WINDOWS_KEPT + 50 }, (_, index) =>
      window("east", "a", index * 500, index, 0),
    );
    expect(project(...events).workflows["a"]?.cells["east"]?.windows).toHaveLength(WINDOWS_KEPT);
  });

  it("ignores events of types that it does not know", () => {
    const unknown = { type: "from.the.future", at: 9 } as unknown as JobEvent;
    expect(project(status("east", "a", 1), unknown).workflows["a"]?.cells["east"]?.shards.total).toBe(1);
  });
});
