import type { Json } from "../../json.ts";
import { jsonOrText } from "../../queue/damaged-tasks.ts";
import type {
  ClaimedTask,
  Limits,
  QueueSettings,
  QueueStats,
  TaskRecord,
  TaskState,
} from "../../queue/task-queue.ts";

export interface ClaimRow {
  /** null in the one row that says that the queue must be asked in the other way. */
  readonly id: string | null;
  readonly type: string;
  readonly payload: string;
  readonly task_group: string | null;
  readonly token: string;
  readonly attempt: number;
  readonly max_attempts: number;
  readonly enqueued_ms: number;
  readonly timeout_ms: number | null;
  readonly keep: boolean;
  /** 0 (low) to 3 (critical). */
  readonly priority: number;
  readonly run_us: number;
  readonly seq: string;
}

export const toClaimedTask = (row: ClaimRow): ClaimedTask => ({
  id: row.id as string,
  type: row.type,
  payload: JSON.parse(row.payload) as Json,
  group: row.task_group ?? undefined,
  token: BigInt(row.token),
  attempt: row.attempt,
  maxAttempts: row.max_attempts,
  enqueuedAt: Number(row.enqueued_ms),
  timeoutMs: row.timeout_ms === null ? undefined : Number(row.timeout_ms),
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
  readonly progress: string | null;
  readonly enqueued_at: number;
  readonly finished_at: number | null;
}

export const toRecord = (row: RecordRow): TaskRecord => ({
  id: row.id,
  type: row.type,
  state: row.state,
  payload: jsonOrText(row.payload),
  group: row.task_group ?? undefined,
  attempt: row.attempt,
  maxAttempts: row.max_attempts,
  result: row.result === null ? undefined : (JSON.parse(row.result) as Json),
  failures: JSON.parse(row.failures) as TaskRecord["failures"],
  worker: row.worker ?? undefined,
  progress: row.progress === null ? undefined : (JSON.parse(row.progress) as Json),
  enqueuedAt: Number(row.enqueued_at),
  finishedAt: row.finished_at === null ? undefined : Number(row.finished_at),
});

export type StatsRow = Record<Exclude<keyof QueueStats, "oldestDueMs" | "paused">, number> & {
  readonly oldest_due_ms: number | null;
  readonly paused: boolean;
};

export const toStats = (row: StatsRow | undefined): QueueStats => ({
  waiting: row?.waiting ?? 0,
  pending: row?.pending ?? 0,
  delayed: row?.delayed ?? 0,
  claimed: row?.claimed ?? 0,
  completed: row?.completed ?? 0,
  dead: row?.dead ?? 0,
  cancelled: row?.cancelled ?? 0,
  total: row?.total ?? 0,
  oldestDueMs: row?.oldest_due_ms === null || row === undefined ? undefined : Number(row.oldest_due_ms),
  retrying: row?.retrying ?? 0,
  paused: row?.paused ?? false,
});

export interface SettingsRow {
  readonly paused: boolean;
  readonly concurrency: number | null;
  readonly rate_count: number | null;
  readonly rate_per_ms: number | null;
  readonly key_concurrency: number | null;
  readonly key_rate_count: number | null;
  readonly key_rate_per_ms: number | null;
}

export const toSettings = (row: SettingsRow | undefined): QueueSettings => {
  if (row === undefined) return { paused: false, limits: undefined };
  const whole = toLimits(row.concurrency, row.rate_count, row.rate_per_ms);
  const perKey = toLimits(row.key_concurrency, row.key_rate_count, row.key_rate_per_ms);
  if (whole === undefined && perKey === undefined) return { paused: row.paused, limits: undefined };
  return { paused: row.paused, limits: { ...whole, ...(perKey === undefined ? {} : { perKey }) } };
};

const toLimits = (
  concurrency: number | null,
  count: number | null,
  perMs: number | null,
): Limits | undefined =>
  concurrency === null && count === null
    ? undefined
    : {
        ...(concurrency === null ? {} : { concurrency }),
        ...(count === null ? {} : { rate: { count, perMs: Number(perMs) } }),
      };
