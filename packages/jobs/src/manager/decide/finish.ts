import type { JobStatus, WorkflowStatus } from "@holdfast/protocol/contract";
import {
  ERRORS_MAX_COUNT,
  isTerminal,
  isWorkflowTerminal,
  type JobState,
  type WorkflowState,
} from "../job-state.ts";
import { OUTPUTS_MAX_BYTES, OUTPUTS_MAX_COUNT } from "../shard-results.ts";
import type { Effects } from "./effects.ts";
import { jobResultOf, workflowResultOf } from "./result.ts";

/** Sets a workflow's last status and appends its result. What has ended already stays as it is. */
export const endWorkflow = (
  job: JobState,
  workflow: WorkflowState,
  end: { readonly status: WorkflowStatus; readonly error?: WorkflowState["error"] },
  effects: Effects,
  now: number,
): void => {
  if (isWorkflowTerminal(workflow.status)) return;
  // A workflow whose shards are all done has none to cancel.
  const hasTasks = workflow.status !== "pending" && !workflow.results.isComplete;
  workflow.status = end.status;
  workflow.finishedAt = now;
  workflow.error = end.error === undefined ? undefined : clipped(end.error);
  if (hasTasks) effects.cancel.push(workflow.index);
  if (end.status === "failed") addError(job, `${workflow.spec.name}: ${workflow.error?.message ?? "failed"}`);
  const { outputsOmitted } = workflow.results;
  if (outputsOmitted > 0) addError(job, `${workflow.spec.name}: ${omitted(outputsOmitted)}`);
  effects.ended.push(workflow.index);
  effects.events.push({ type: "workflow.result", at: now, result: workflowResultOf(workflow) });
  effects.stateChanged = true;
};

const omitted = (count: number): string =>
  `the outputs of ${count} ${count === 1 ? "shard" : "shards"} are left out: a result has those of the first ` +
  `${OUTPUTS_MAX_COUNT} shards, ${OUTPUTS_MAX_BYTES / 1024} KiB of them; keep large ones elsewhere and return a reference`;

/** Beyond {@link ERRORS_MAX_COUNT} lines an error is only in its workflow's own result. */
export const addError = (job: JobState, line: string): void => {
  if (job.errors.length < ERRORS_MAX_COUNT) job.errors.push(line);
};

/** Ends the job once no workflow is left, with the status that its workflows and its policy give. */
export const finishIfDone = (job: JobState, effects: Effects, now: number): void => {
  if (isTerminal(job.status) || job.status === "cancelling") return;
  if (!job.workflows.every((workflow) => isWorkflowTerminal(workflow.status))) return;
  finishJob(job, job.ending?.kind ?? statusOf(job), effects, now);
};

/** Sets the job's last status and appends its result: the last event of its log. */
export const finishJob = (job: JobState, status: JobStatus, effects: Effects, now: number): void => {
  if (isTerminal(job.status)) return;
  job.status = status;
  job.finishedAt = now;
  effects.events.push({ type: "job.result", at: now, result: jobResultOf(job) });
  effects.stateChanged = true;
};

/** Precedence: failed > cancelled > completed; what succeeded counts only where the job allows parts. */
const statusOf = (job: JobState): JobStatus => {
  const has = (status: WorkflowStatus): boolean =>
    job.workflows.some((workflow) => workflow.status === status);
  if (!has("failed") && !has("cancelled")) return "completed";
  if (job.spec.policy === "allow-partial" && has("completed")) return "partial";
  return has("failed") ? "failed" : "cancelled";
};

const MESSAGE_MAX_CHARACTERS = 2_000;

/** Messages go into the state, the log and the result: a thousand workflows with long ones must still fit. */
const clipped = (error: NonNullable<WorkflowState["error"]>): NonNullable<WorkflowState["error"]> =>
  error.message.length <= MESSAGE_MAX_CHARACTERS
    ? error
    : { ...error, message: `${error.message.slice(0, MESSAGE_MAX_CHARACTERS - 1)}…` };
