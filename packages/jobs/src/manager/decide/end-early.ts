import { toWireError } from "@holdfast/kernel";
import { JobCancelledError, JobTimeoutError } from "../../errors.ts";
import { transitiveDependents } from "../../model/dependency-graph.ts";
import { isTerminal, isWorkflowTerminal, type JobState, type WorkflowState } from "../job-state.ts";
import type { Effects } from "./effects.ts";
import { addError, endWorkflow, finishIfDone, finishJob } from "./finish.ts";
import { startReady } from "./start-workflows.ts";

export interface CancelDecision {
  readonly outcome: "cancelling" | "cancelled" | "already-cancelled" | "already-completed" | "not-found";
  readonly cancelledWorkflows: number;
}

/**
 * Stops the whole job. It is `cancelling` until {@link confirmStopped} says that no worker runs a part of it
 * any more. Asking again changes nothing.
 */
export const cancelJob = (
  job: JobState,
  options: { readonly reason: string },
  effects: Effects,
  now: number,
): CancelDecision => {
  if (job.status === "cancelling") return { outcome: "cancelling", cancelledWorkflows: 0 };
  if (isTerminal(job.status)) return { outcome: alreadyEnded(job.status), cancelledWorkflows: 0 };
  job.status = "cancelling";
  job.ending = { kind: "cancelled", reason: options.reason };
  effects.stateChanged = true;
  effects.events.push({
    type: "job.status",
    at: now,
    status: "cancelling",
    ...(options.reason === "" ? {} : { message: options.reason }),
  });
  let cancelledWorkflows = 0;
  for (const workflow of job.workflows) {
    if (isWorkflowTerminal(workflow.status)) continue;
    cancelWorkflowState(job, workflow, options.reason, effects, now);
    cancelledWorkflows += 1;
  }
  return { outcome: "cancelling", cancelledWorkflows };
};

/** Every worker that ran a part of the cancelled job has stopped, or its lease has ended. */
export const confirmStopped = (job: JobState, effects: Effects, now: number): void => {
  if (job.status === "cancelling") finishJob(job, "cancelled", effects, now);
};

/**
 * Stops one workflow, and with `dependents` all that depend on it. Without, those that depend on it run
 * as if it had completed without output. The job goes on with what is left.
 */
export const cancelWorkflow = (
  job: JobState,
  workflowId: string,
  options: { readonly reason: string; readonly dependents: boolean },
  effects: Effects,
  now: number,
): CancelDecision => {
  const index = job.indexById.get(workflowId);
  const workflow = index === undefined ? undefined : job.workflows[index];
  if (index === undefined || workflow === undefined) return { outcome: "not-found", cancelledWorkflows: 0 };
  if (isWorkflowTerminal(workflow.status)) {
    const isCancelled = workflow.status === "cancelled";
    return { outcome: isCancelled ? "already-cancelled" : "already-completed", cancelledWorkflows: 0 };
  }
  const targets = options.dependents ? [index, ...transitiveDependents(job.graph, index)] : [index];
  workflow.isBypassed = !options.dependents;
  let cancelledWorkflows = 0;
  for (const target of targets) {
    const state = job.workflows[target] as WorkflowState;
    if (isWorkflowTerminal(state.status)) continue;
    cancelWorkflowState(job, state, options.reason, effects, now);
    cancelledWorkflows += 1;
  }
  startReady(job, effects, now);
  finishIfDone(job, effects, now);
  return { outcome: "cancelled", cancelledWorkflows };
};

/** The job's time is over: it ends at once, and what still runs is cancelled. */
export const timeOutJob = (job: JobState, effects: Effects, now: number): void => {
  if (isTerminal(job.status) || job.status === "cancelling") return;
  job.ending = { kind: "timeout", reason: "" };
  const error = toWireError(new JobTimeoutError(job.jobId, job.spec.timeoutMs));
  addError(job, error.message);
  for (const workflow of job.workflows) {
    endWorkflow(job, workflow, { status: "cancelled", error }, effects, now);
  }
  finishIfDone(job, effects, now);
};

const cancelWorkflowState = (
  job: JobState,
  workflow: WorkflowState,
  reason: string,
  effects: Effects,
  now: number,
): void => {
  const error = toWireError(new JobCancelledError(`workflow ${workflow.spec.name}`, reason));
  endWorkflow(job, workflow, { status: "cancelled", error }, effects, now);
};

const alreadyEnded = (status: JobState["status"]): CancelDecision["outcome"] =>
  status === "cancelled" ? "already-cancelled" : "already-completed";
