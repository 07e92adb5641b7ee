import type { CoordinationStore, Json } from "@holdfast/coordination";
import type { Abortable } from "@holdfast/kernel";
import type { JobSpec, JobStatus } from "@holdfast/protocol/contract";

/** The statuses after which nothing about a job changes. */
export const TERMINAL_STATUSES = [
  "completed",
  "partial",
  "failed",
  "cancelled",
  "timeout",
] as const satisfies readonly JobStatus[];

/** A job as its store keeps it. A gate's store and a manager's store use the same table in different schemas. */
export interface JobRow {
  readonly jobId: string;
  readonly idempotencyKey: string;
  /** SHA-256 of the canonical payload, hex: the same key with another payload is a conflict. */
  readonly payloadHash: string;
  /** Node id of the leader. */
  readonly owner: string;
  /** Raised by every change of owner; every update must name it. */
  readonly fence: bigint;
  readonly status: JobStatus;
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly spec: JobSpec;
  /** The leader's own view, opaque to the table: what it needs to go on after a crash. */
  readonly state: Json;
  /** By the store's clock, milliseconds since the epoch. */
  readonly submittedAt: number;
  readonly finishedAt: number | undefined;
}

export type NewJobRow = Omit<JobRow, "fence" | "submittedAt" | "finishedAt">;

export interface JobUpdate {
  readonly jobId: string;
  readonly fence: bigint;
  readonly status: JobStatus;
  /** Absent: the stored state stays. For changes that only prove the fence (an event, a finished task). */
  readonly state?: Json;
}

export interface PurgedJob {
  readonly jobId: string;
  readonly workflowIds: readonly string[];
}

export type InsertOutcome =
  | { readonly kind: "inserted"; readonly row: JobRow }
  /** A row with this job id or idempotency key was there; nothing was written. */
  | { readonly kind: "exists"; readonly row: JobRow };

export interface JobFilter {
  readonly statuses?: readonly JobStatus[];
  /** Part of the name or id, case-insensitive. */
  readonly search?: string;
  readonly limit: number;
  /** Where the page before ended, from `nextCursor`. */
  readonly cursor?: string;
}

/**
 * The rows of jobs, their owners and fences. Every call takes many rows and makes one round trip.
 *
 * Guaranteed: one row per job id and per idempotency key; `update` changes a row only under its current fence
 * and never one that is terminal already; `takeOver` raises the fence in the same statement that changes the
 * owner, so of two takers one wins and the former owner's later updates are refused.
 */
export interface JobTable<Tx> {
  insert(rows: readonly NewJobRow[], tx: Tx): Promise<readonly InsertOutcome[]>;
  /** One boolean per update: false when the fence is not current or the job is terminal; that row is unchanged. */
  update(updates: readonly JobUpdate[], tx: Tx): Promise<readonly boolean[]>;
  /**
   * Makes `owner` the owner of up to `limit` unfinished jobs whose owner is not among `liveOwners` (the nodes
   * that hold an unexpired lease now), each under a fresh, larger fence. Oldest first.
   */
  takeOver(
    options: { readonly owner: string; readonly liveOwners: readonly string[]; readonly limit: number },
    tx: Tx,
  ): Promise<readonly { readonly row: JobRow; readonly previousOwner: string }[]>;
  get(jobIds: readonly string[], options?: Abortable): Promise<readonly JobRow[]>;
  /** Newest first. */
  list(
    filter: JobFilter,
    options?: Abortable,
  ): Promise<{ readonly rows: readonly JobRow[]; readonly nextCursor: string | undefined }>;
  /** Counts by status. */
  counts(options?: Abortable): Promise<Readonly<Partial<Record<JobStatus, number>>>>;
  /**
   * Deletes up to `limit` terminal jobs that ended more than `olderThanMs` ago, those that ended first before
   * others, and says which (their logs and tasks are the caller's to delete).
   */
  purge(
    options: { readonly olderThanMs: number; readonly limit: number },
    tx: Tx,
  ): Promise<readonly PurgedJob[]>;
}

/** All that a gate or a manager keeps: jobs, and the leases, logs and queues that commit together with them. */
export interface JobStore<Tx = unknown> extends AsyncDisposable {
  readonly coordination: CoordinationStore<Tx>;
  readonly jobs: JobTable<Tx>;
}
