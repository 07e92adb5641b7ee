import type { FailedOutcome } from "../changes.ts";
import type { JobState, WorkflowState } from "../job-state.ts";
import type { Effects } from "./effects.ts";

// A budget bounds the retries of all shards together, beside the attempts of each: work that fails everywhere is
// given up soon. Only failures that workers report use it; a worker that is lost or gives a shard back costs nothing.

const NONE = Number.POSITIVE_INFINITY;

/** Retries that the workflow may still use by its own budget and by its job's; infinite where there is none. */
const retriesLeft = (
  job: JobState,
  { spec, retryCount }: WorkflowState,
): { readonly ofWorkflow: number; readonly ofJob: number } => {
  const ofWorkflow = spec.retryBudget === undefined ? NONE : spec.retryBudget - retryCount;
  if (job.spec.retryBudget === undefined) return { ofWorkflow, ofJob: NONE };
  const usedByJob = job.workflows.reduce((sum, workflow) => sum + workflow.retryCount, 0);
  return { ofWorkflow, ofJob: job.spec.retryBudget - usedByJob };
};

const hasBudget = (job: JobState, workflow: WorkflowState): boolean =>
  workflow.spec.retryBudget !== undefined || job.spec.retryBudget !== undefined;

/**
 * Which of these failures, committed together, may be tried again; in order. What one of them may use the later ones
 * may not, even should it turn out that it had no attempt left.
 */
export const retriesWithinBudget = (
  failed: readonly FailedOutcome[],
  stateOf: (jobId: string) => JobState | undefined,
): readonly boolean[] => {
  const promised = new Map<JobState | WorkflowState, number>();
  const promisedTo = (whom: JobState | WorkflowState): number => promised.get(whom) ?? 0;
  return failed.map(({ jobId, workflowIndex, retry, uncounted }) => {
    const job = stateOf(jobId);
    const workflow = job?.workflows[workflowIndex];
    if (!retry || uncounted || job === undefined || workflow === undefined) return retry;
    if (!hasBudget(job, workflow)) return true;
    const { ofWorkflow, ofJob } = retriesLeft(job, workflow);
    if (ofWorkflow <= promisedTo(workflow) || ofJob <= promisedTo(job)) return false;
    promised.set(workflow, promisedTo(workflow) + 1);
    promised.set(job, promisedTo(job) + 1);
    return true;
  });
};

/** A shard goes back to the queue after a failure that a worker reported. */
export const useRetry = (job: JobState, index: number, effects: Effects): void => {
  const workflow = job.workflows[index];
  if (workflow === undefined || !hasBudget(job, workflow)) return;
  workflow.retryCount += 1;
  effects.stateChanged = true;
};

/** Whether a budget, and not the attempts of the shard, is why it is not tried again. */
export const isBudgetUsedUp = (job: JobState, index: number): boolean => {
  const workflow = job.workflows[index];
  if (workflow === undefined) return false;
  const { ofWorkflow, ofJob } = retriesLeft(job, workflow);
  return ofWorkflow <= 0 || ofJob <= 0;
};
