import type { WireError } from "@holdfast/kernel";
import { isActive, isTerminal, type JobState, type WorkflowState } from "../job-state.ts";
import type { ShardResult } from "../shard-results.ts";
import type { Effects } from "./effects.ts";
import { failWorkflow } from "./fail-workflow.ts";
import { addError, endWorkflow, finishIfDone } from "./finish.ts";
import { noteJobRunning, noteRunning, startReady } from "./start-workflows.ts";

/** The queue accepted a shard's completion. A shard that has ended before changes nothing. */
export const completeShard = (
  job: JobState,
  index: number,
  shard: { readonly shard: number; readonly result: ShardResult },
  effects: Effects,
  now: number,
): void => {
  const workflow = job.workflows[index];
  if (workflow === undefined || isTerminal(job.status) || !isActive(workflow)) return;
  if (!workflow.results.complete(shard.shard, shard.result)) return;
  if (!workflow.results.isComplete) {
    noteRunning(job, workflow, effects, now);
    return;
  }
  const { refusedCount } = workflow.results;
  if (refusedCount > 0) {
    addError(job, `${workflow.spec.name}: the measurements of ${refusedCount} shards have too many names`);
  }
  job.startedAt ??= now;
  endWorkflow(job, workflow, { status: "completed" }, effects, now);
  startReady(job, effects, now);
  finishIfDone(job, effects, now);
  // A job that ended with this shard need not say that it ran.
  noteJobRunning(job, effects, now);
};

/** An attempt of a shard failed or its claim lapsed, and the shard went back to the queue. */
export const retryShard = (
  job: JobState,
  index: number,
  attempt: ShardAttempt & { readonly retryInMs?: number | undefined },
  effects: Effects,
  now: number,
): void => {
  const workflow = job.workflows[index];
  if (workflow === undefined || isTerminal(job.status) || !isActive(workflow)) return;
  if (!workflow.results.isOpen(attempt.shard)) return;
  noteRunning(job, workflow, effects, now);
  effects.events.push(attemptEvent(workflow, attempt, now));
};

/**
 * A shard used up its attempts: its workflow has failed and all that depend on it fail with it. Under
 * `require-all` the job ends here; under `allow-partial` what does not depend on it goes on.
 */
export const failShard = (
  job: JobState,
  index: number,
  attempt: ShardAttempt,
  effects: Effects,
  now: number,
): void => {
  const workflow = job.workflows[index];
  if (workflow === undefined || isTerminal(job.status) || !isActive(workflow)) return;
  if (!workflow.results.markDead(attempt.shard)) return;
  job.startedAt ??= now;
  effects.events.push(attemptEvent(workflow, attempt, now));
  failWorkflow(job, workflow, attempt.error, effects, now);
  startReady(job, effects, now);
  finishIfDone(job, effects, now);
};

/** One attempt of one shard that did not succeed. */
export interface ShardAttempt {
  readonly shard: number;
  readonly attempt: number;
  readonly worker: string;
  readonly error: WireError;
}

const attemptEvent = (
  workflow: WorkflowState,
  attempt: ShardAttempt & { readonly retryInMs?: number | undefined },
  at: number,
) =>
  ({
    type: "shard.retry",
    at,
    workflowId: workflow.spec.id,
    shard: attempt.shard,
    attempt: attempt.attempt,
    worker: attempt.worker,
    error: { ...attempt.error, message: attempt.error.message.slice(0, 2_000) },
    ...(attempt.retryInMs === undefined ? {} : { retryInMs: attempt.retryInMs }),
  }) as const;
