import type { JobSpec } from "@holdfast/protocol/contract";
import { describe, expect, it } from "vitest";
import { newJob, workflowSpec } from "../../../test/manager/job-states.ts";
import { ASSIGNMENT_MAX_BYTES } from "../assignment-size.ts";
import type { JobState } from "../job-state.ts";
import { noEffects } from "./effects.ts";
import { cancelWorkflow } from "./end-early.ts";
import { completeShard } from "./shard-ends.ts";
import { startJob } from "./start-workflows.ts";

const PART_COUNT = 16;
const PART_LENGTH = 500_000;
const SUM = PART_COUNT;
/** Depends on the sum. */
const LAST = PART_COUNT + 1;

const jobOf = (
  change: { readonly policy?: JobSpec["policy"]; readonly exclusive?: boolean } = {},
): JobState => {
  const parts = Array.from({ length: PART_COUNT }, (_, index) => `part-${index}`);
  return newJob(
    [
      ...parts.map((name) => workflowSpec(name)),
      workflowSpec("sum", { dependsOn: parts, priority: change.exclusive === true ? "exclusive" : "auto" }),
      workflowSpec("last", { dependsOn: ["sum"] }),
    ],
    change.policy,
  );
};

/** Ends the parts, the last of them with an output of this length, and tells what was decided then. */
const endParts = (job: JobState, lastLength: number) => {
  startJob(job, noEffects(), 1);
  const effects = noEffects();
  for (let index = 0; index < PART_COUNT; index += 1) {
    const result = {
      output: "x".repeat(index === PART_COUNT - 1 ? lastLength : PART_LENGTH),
      totals: { counters: { units: 1 }, histograms: {} },
      progress: { done: 1, total: 1 },
    };
    completeShard(job, index, { shard: 0, result }, index === PART_COUNT - 1 ? effects : noEffects(), 2);
  }
  return effects;
};

const sumOf = (job: JobState) => job.workflows[SUM];

const excessBytes = (): number => {
  const job = jobOf();
  endParts(job, PART_LENGTH);
  return Number(sumOf(job)?.error?.details?.["sizeBytes"]) - ASSIGNMENT_MAX_BYTES;
};

describe("a workflow that depends on much", () => {
  it("starts with exactly the limit, and fails with one byte more", () => {
    const fits = jobOf();
    expect(endParts(fits, PART_LENGTH - excessBytes()).enqueue).toEqual([SUM]);
    expect(sumOf(fits)?.status).toBe("assigned");
    const exceeds = jobOf();
    expect(endParts(exceeds, PART_LENGTH - excessBytes() + 1).enqueue).toEqual([]);
    expect(sumOf(exceeds)?.error).toMatchObject({
      code: "JOBS_DEPENDENCIES_TOO_LARGE",
      retryable: false,
      details: { workflow: "sum", sizeBytes: ASSIGNMENT_MAX_BYTES + 1, limitBytes: ASSIGNMENT_MAX_BYTES },
    });
  });

  it.each([
    {},
    { exclusive: true },
    { policy: "allow-partial" as const },
  ])("ends the job where nothing else is left: %o", (change) => {
    const job = jobOf(change);
    const { events } = endParts(job, PART_LENGTH);
    expect(job.status).toBe(change.policy === undefined ? "failed" : "partial");
    expect(job.workflows[LAST]).toMatchObject({
      status: "failed",
      error: { code: "JOBS_DEPENDENCY_FAILED" },
    });
    expect(events.at(-1)).toMatchObject({ type: "job.result" });
  });

  it("is not held against what was cancelled alone: that hands on nothing", () => {
    const job = jobOf();
    startJob(job, noEffects(), 1);
    cancelWorkflow(job, "wf-part-0", { reason: "", dependents: false }, noEffects(), 1);
    cancelWorkflow(job, "wf-part-1", { reason: "", dependents: false }, noEffects(), 1);
    expect(endParts(job, PART_LENGTH).enqueue).toEqual([SUM]);
  });
});
