import type { Json } from "../../json.ts";
import type { Backoff, TaskRecord, TaskState } from "../../queue/task-queue.ts";

/** What a state change may alter of a task. Replaced whole, so that a rollback puts the old one back. */
export interface TaskStatus {
  readonly state: TaskState;
  readonly attempt: number;
  /** When it may be claimed, while pending. */
  readonly runAt: number;
  readonly token: bigint;
  readonly worker: string | undefined;
  readonly leaseUntil: number;
  readonly resultText: string | undefined;
  readonly failures: readonly StoredFailure[];
  readonly finishedAt: number | undefined;
  /** The wait before its newest attempt, where its backoff grows from it. */
  readonly lastDelayMs: number | undefined;
  readonly progressText: string | undefined;
  /** What must end before it may be claimed, while waiting. */
  readonly waitsFor: readonly string[];
}

export interface StoredFailure {
  readonly attempt: number;
  readonly at: number;
  readonly worker: string;
  readonly errorText: string;
}

export interface Task {
  readonly id: string;
  readonly seq: number;
  readonly type: string;
  readonly payloadText: string;
  readonly priorityRank: number;
  readonly maxAttempts: number;
  readonly backoff: Backoff | undefined;
  readonly group: string | undefined;
  readonly dedupeKey: string | undefined;
  readonly limitKey: string | undefined;
  readonly afterAnyEnd: boolean;
  readonly timeoutMs: number | undefined;
  readonly keepCompleted: boolean;
  readonly enqueuedAt: number;
  status: TaskStatus;
}

export const isLive = (state: TaskState): boolean =>
  state === "pending" || state === "claimed" || state === "waiting";

export const toRecord = (task: Task): TaskRecord => {
  const { status } = task;
  return {
    id: task.id,
    type: task.type,
    state: status.state,
    payload: JSON.parse(task.payloadText) as Json,
    group: task.group,
    attempt: status.attempt,
    maxAttempts: task.maxAttempts,
    result: status.resultText === undefined ? undefined : (JSON.parse(status.resultText) as Json),
    failures: status.failures.map(({ attempt, at, worker, errorText }) => ({
      attempt,
      at,
      worker,
      error: JSON.parse(errorText) as Json,
    })),
    worker: status.worker,
    progress: status.progressText === undefined ? undefined : (JSON.parse(status.progressText) as Json),
    enqueuedAt: task.enqueuedAt,
    finishedAt: status.finishedAt,
  };
};
