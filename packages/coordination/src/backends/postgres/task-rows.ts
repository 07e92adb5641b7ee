import type { Json } from "../../json.ts";
import type { ClaimedTask, QueueStats, TaskRecord, TaskState } from "../../queue/task-queue.ts";

export interface ClaimRow {
  readonly id: string;
  readonly type: string;
  readonly payload: string;
  readonly task_group: string | null;
  readonly token: string;
  readonly attempt: number;
  readonly max_attempts: number;
  readonly enqueued_at: number;
}

export const toClaimedTask = (row: ClaimRow): ClaimedTask => ({
  id: row.id,
  type: row.type,
  payload: JSON.parse(row.payload) as Json,
  group: row.task_group ?? undefined,
  token: BigInt(row.token),
  attempt: row.attempt,
  maxAttempts: row.max_attempts,
  enqueuedAt: Number(row.enqueued_at),
});

export interface RecordRow {
  readonly id: string;
  readonly type: string;
  readonly state: TaskState;
  readonly payload: string;
  readonly task_group: string | null;
  readonly attempt: number;
  readonly max_attempts: number;
  readonly result: string | null;
  readonly failures: string;
  readonly worker: string | null;
  readonly enqueued_at: number;
  readonly finished_at: number | null;
}

export const toRecord = (row: RecordRow): TaskRecord => ({
  id: row.id,
  type: row.type,
  state: row.state,
  payload: JSON.parse(row.payload) as Json,
  group: row.task_group ?? undefined,
  attempt: row.attempt,
  maxAttempts: row.max_attempts,
  result: row.result === null ? undefined : (JSON.parse(row.result) as Json),
  failures: JSON.parse(row.failures) as TaskRecord["failures"],
  worker: row.worker ?? undefined,
  enqueuedAt: Number(row.enqueued_at),
  finishedAt: row.finished_at === null ? undefined : Number(row.finished_at),
});

export type StatsRow = Record<Exclude<keyof QueueStats, "oldestDueMs">, number> & {
  readonly oldest_due_ms: number | null;
};

export const toStats = (row: StatsRow | undefined): QueueStats => ({
  pending: row?.pending ?? 0,
  delayed: row?.delayed ?? 0,
  claimed: row?.claimed ?? 0,
  completed: row?.completed ?? 0,
  dead: row?.dead ?? 0,
  cancelled: row?.cancelled ?? 0,
  total: row?.total ?? 0,
  oldestDueMs: row?.oldest_due_ms === null || row === undefined ? undefined : Number(row.oldest_due_ms),
});
