import type { Json, TaskRecord } from "@holdfast/coordination";
import type { WireError } from "@holdfast/kernel";
import type { ShardPayload } from "../model/shard-task.ts";
import type { ShardAttempt } from "./decide/shard-ends.ts";
import { isActive, type JobState } from "./job-state.ts";
import type { ShardResult } from "./shard-results.ts";

/** What of a task the restored state needs. */
export type RestoredTask = Pick<
  TaskRecord,
  "state" | "payload" | "result" | "attempt" | "failures" | "worker"
>;

/**
 * Adds what the queue knows of a workflow's shards to a state read from its row. Both were written in the same
 * transactions, so together they are the state as it was.
 *
 * Returns the shards that are dead in the queue while the workflow does not know it: their last claim lapsed
 * and another manager sent them to dead letter. They still have to be decided.
 */
export const restoreShards = (
  job: JobState,
  index: number,
  tasks: readonly RestoredTask[],
): readonly ShardAttempt[] => {
  const workflow = job.workflows[index];
  if (workflow === undefined) return [];
  const undecided: ShardAttempt[] = [];
  for (const task of tasks) {
    const { shard } = task.payload as unknown as ShardPayload;
    if (task.state === "completed" && task.result !== undefined) {
      workflow.results.complete(shard, task.result as unknown as ShardResult);
    } else if (task.state === "dead") {
      if (isActive(workflow)) undecided.push(lastAttempt(task));
      else workflow.results.markDead(shard);
    }
  }
  return undecided;
};

/** The last failure in a task's history, as a shard's attempt. */
export const lastAttempt = (task: RestoredTask): ShardAttempt => {
  const last = task.failures.at(-1);
  return {
    shard: (task.payload as unknown as ShardPayload).shard,
    attempt: last?.attempt ?? Math.max(1, task.attempt),
    worker: last?.worker ?? task.worker ?? "unknown",
    error: toError(last?.error),
  };
};

/** A failure's error as the queue keeps it; a long one was clipped there and is no error object any more. */
const toError = (stored: Json | undefined): WireError => {
  const error = stored as Partial<WireError> | undefined | null;
  if (typeof error === "object" && error !== null && typeof error.message === "string") {
    return {
      code: typeof error.code === "string" ? error.code : "KERNEL_INTERNAL",
      message: error.message,
      retryable: error.retryable === true,
      ...(error.details === undefined ? {} : { details: error.details }),
    };
  }
  return { code: "KERNEL_INTERNAL", message: JSON.stringify(stored ?? "unknown"), retryable: false };
};
