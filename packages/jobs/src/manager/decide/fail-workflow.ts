import { toWireError, type WireError } from "@holdfast/kernel";
import { DependencyFailedError } from "../../errors.ts";
import { transitiveDependents } from "../../model/dependency-graph.ts";
import type { JobState, WorkflowState } from "../job-state.ts";
import type { Effects } from "./effects.ts";
import { endWorkflow } from "./finish.ts";

/**
 * Fails a workflow, and with it all that depend on it. Under `require-all` all others of the job are cancelled; under
 * `allow-partial` what does not depend on it goes on. What may start or end by that is the caller's to see to.
 */
export const failWorkflow = (
  job: JobState,
  workflow: WorkflowState,
  error: WireError,
  effects: Effects,
  now: number,
): void => {
  endWorkflow(job, workflow, { status: "failed", error }, effects, now);
  for (const dependent of transitiveDependents(job.graph, workflow.index)) {
    const target = job.workflows[dependent] as WorkflowState;
    const failed = toWireError(new DependencyFailedError(target.spec.name, workflow.spec.name));
    endWorkflow(job, target, { status: "failed", error: failed }, effects, now);
  }
  if (job.spec.policy !== "require-all") return;
  job.ending = { kind: "failed", reason: workflow.spec.name };
  for (const other of job.workflows) {
    const cancelled = toWireError(new DependencyFailedError(other.spec.name, workflow.spec.name));
    endWorkflow(job, other, { status: "cancelled", error: cancelled }, effects, now);
  }
};
