import type { JobEvent, JobResult, JobStatus, WorkflowResult } from "@holdfast/protocol/contract";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { decodeGateJob, encodeGateState, type GateJob, isTerminal, newGateJob } from "../gate-job.ts";
import { applyDatacenterEvent } from "./datacenter-event.ts";
import { beginEnding, endPartAs, finishWithout, settleJob } from "./end-job.ts";

const spec = (policy: "require-all" | "allow-partial") => ({
  name: "job",
  workflows: ["one", "two"].map((name) => ({
    id: `wf-${name}`,
    name,
    workflow: "w",
    input: {},
    dependsOn: [],
    priority: "auto" as const,
  })),
  vus: 1,
  timeoutMs: 1_000,
  datacenters: [],
  datacenterCount: 2,
  policy,
  reporting: [],
  labels: {},
});

const DATACENTERS = ["east", "west", "north"];

const newJob = (policy: "require-all" | "allow-partial", count: number): GateJob => {
  const job = newGateJob(
    {
      jobId: "j",
      idempotencyKey: "k",
      spec: spec(policy),
      fence: 1n,
      submittedAt: 0,
      status: "dispatching",
    },
    { datacenters: DATACENTERS.slice(0, count), fallbacks: [] },
  );
  for (const part of job.parts) part.phase = "accepted";
  return job;
};

const workflowResult = (name: string, status: WorkflowResult["status"], units: number): WorkflowResult => ({
  workflowId: `wf-${name}`,
  name,
  workflow: "w",
  status,
  shards: { total: 1, completed: status === "completed" ? 1 : 0, failed: status === "failed" ? 1 : 0 },
  outputs: [units],
  totals: { counters: { units }, histograms: {} },
  elapsedMs: units,
});

/** The log of one datacenter for a run that ends as `status`. */
const logOf = (datacenter: string, status: JobStatus, units: number): JobEvent[] => {
  const workflowStatus = status === "completed" ? ("completed" as const) : ("failed" as const);
  const results = ["one", "two"].map((name) => workflowResult(name, workflowStatus, units));
  const result: JobResult = {
    jobId: "j",
    name: "job",
    status,
    workflows: results,
    datacenters: { [datacenter]: { status, elapsedMs: units } },
    errors: status === "completed" ? [] : [`${status} there`],
    submittedAt: 0,
    finishedAt: 9,
    elapsedMs: units,
  };
  return [
    { type: "job.status", at: 1, status: "submitted" },
    { type: "job.leader", at: 1, role: "manager", leader: { nodeId: datacenter, address: "", fence: "3" } },
    { type: "job.status", at: 2, status: "running" },
    { type: "workflow.result", at: 3, result: results[0] as WorkflowResult },
    { type: "workflow.result", at: 4, result: results[1] as WorkflowResult },
    { type: "job.status", at: 5, status },
    { type: "job.result", at: 5, result },
  ];
};

/** Feeds the logs into the job in the order that `picks` says, each event as often as `repeats` says. */
const run = (
  job: GateJob,
  logs: readonly (readonly JobEvent[])[],
  picks: readonly number[],
  repeat: (step: number) => boolean,
): JobEvent[] => {
  const offsets = logs.map(() => 0);
  const events: JobEvent[] = [];
  const feed = (index: number, offset: number): void => {
    const event = logs[index]?.[offset];
    const part = job.parts[index];
    if (event === undefined || part === undefined) return;
    const position = { epoch: "1", offset: String(offset + 1) };
    events.push(...applyDatacenterEvent(job, part, { position, event }), ...settleJob(job, 10));
  };
  let step = 0;
  const next = (index: number): void => {
    const offset = offsets[index] ?? 0;
    feed(index, offset);
    if (repeat(step)) feed(index, Math.max(0, offset - 1));
    offsets[index] = offset + 1;
    step += 1;
  };
  for (const pick of picks) next(pick % logs.length);
  for (const [index, log] of logs.entries()) while ((offsets[index] ?? 0) < log.length) next(index);
  return events;
};

const outcome = fc.constantFrom<JobStatus>("completed", "failed", "cancelled", "timeout");

describe("the events of several datacenters", () => {
  it("give the same result in any interleaving, repeats included", () => {
    fc.assert(
      fc.property(
        fc.array(fc.tuple(outcome, fc.nat(100)), { minLength: 1, maxLength: 3 }),
        fc.array(fc.nat(2), { maxLength: 40 }),
        fc.array(fc.boolean(), { maxLength: 60 }),
        (runs, picks, repeats) => {
          const logs = runs.map(([status, units], index) =>
            logOf(DATACENTERS[index] as string, status, units),
          );
          const results = [picks, [], [...picks].reverse()].map((order, round) => {
            // What may be partial waits for every datacenter, so that the order cannot matter.
            const job = newJob("allow-partial", runs.length);
            const events = run(job, logs, order, (step) => round === 0 && (repeats[step] ?? false));
            const ends = events.filter(({ type }) => type === "job.result");
            expect(ends.length).toBe(1);
            expect(events.at(-1)?.type).toBe("job.result");
            const end = ends[0] as Extract<JobEvent, { type: "job.result" }>;
            const total = runs.reduce((sum, [, units]) => sum + units, 0);
            for (const workflow of end.result.workflows)
              expect(workflow.totals.counters["units"]).toBe(total);
            const merged = events.filter(
              (event) => event.type === "workflow.result" && event.datacenter === undefined,
            );
            expect(merged.length).toBe(2);
            return end.result;
          });
          expect(results[1]).toEqual(results[0]);
          expect(results[2]).toEqual(results[0]);
        },
      ),
    );
  });

  it("reach one terminal state that nothing changes afterwards", () => {
    fc.assert(
      fc.property(
        fc.array(fc.tuple(outcome, fc.nat(100)), { minLength: 2, maxLength: 3 }),
        fc.array(fc.nat(2), { maxLength: 40 }),
        (runs, picks) => {
          const logs = runs.map(([status, units], index) =>
            logOf(DATACENTERS[index] as string, status, units),
          );
          const job = newJob("require-all", runs.length);
          const events = run(job, logs, picks, () => false);
          expect(events.filter(({ type }) => type === "job.result").length).toBe(1);
          const before = structuredClone({ status: job.status, finishedAt: job.finishedAt });
          expect(isTerminal(job.status)).toBe(true);
          expect(run(job, logs, picks, () => true)).toEqual([]);
          expect(beginEnding(job, { kind: "cancelled", reason: "late" }, 20)).toEqual([]);
          expect(finishWithout(job, 20)).toEqual([]);
          expect({ status: job.status, finishedAt: job.finishedAt }).toEqual(before);
        },
      ),
    );
  });
});

describe("ending a job early", () => {
  it("counts datacenters that were cancelled for lack of time as timed out", () => {
    const job = newJob("require-all", 2);
    expect(beginEnding(job, { kind: "timeout", reason: "too long" }, 5)).toMatchObject([
      { status: "cancelling" },
    ]);
    expect(beginEnding(job, { kind: "cancelled", reason: "second" }, 6)).toEqual([]);
    const events = run(job, [logOf("east", "cancelled", 1), logOf("west", "cancelled", 1)], [], () => false);
    const [end] = events.filter(({ type }) => type === "job.result");
    expect(end).toMatchObject({
      result: { status: "timeout", errors: ["too long", "east: cancelled there", "west: cancelled there"] },
    });
  });

  it("ends as failed when required datacenters are cancelled because one failed", () => {
    const job = newJob("require-all", 2);
    run(job, [logOf("east", "failed", 1), []], [], () => false);
    expect(job.status).toBe("cancelling");
    const west = job.parts[1];
    if (west === undefined) throw new Error("no part");
    endPartAs(west, { status: "cancelled", at: 7 });
    expect(settleJob(job, 8).at(-1)).toMatchObject({ type: "job.result", result: { status: "failed" } });
  });
});

it("goes on from its stored state where it was, and treats what was never confirmed as sent", () => {
  const job = newJob("require-all", 2);
  const log = logOf("east", "completed", 4);
  run(job, [log.slice(0, 4), []], [], () => false);
  (job.parts[1] as GateJob["parts"][number]).phase = "new";
  const stored = JSON.parse(JSON.stringify(encodeGateState(job)));
  const again = decodeGateJob({
    jobId: "j",
    idempotencyKey: "k",
    payloadHash: "",
    owner: "g",
    fence: 9n,
    status: job.status,
    name: "job",
    labels: {},
    spec: job.spec,
    state: stored,
    submittedAt: 0,
    finishedAt: undefined,
  });
  expect(again.fence).toBe(9n);
  expect(again.parts.map(({ phase, position }) => [phase, position])).toEqual([
    ["accepted", { epoch: "1", offset: "4" }],
    ["uncertain", undefined],
  ]);
  expect(again.parts[0]?.leader?.nodeId).toBe("east");
});
