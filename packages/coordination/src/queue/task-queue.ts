import type { Abortable } from "@holdfast/kernel";
import type { Json } from "../json.ts";

export const TASK_PRIORITIES = ["low", "normal", "high", "critical"] as const;
export type TaskPriority = (typeof TASK_PRIORITIES)[number];

export type TaskState = "pending" | "claimed" | "completed" | "dead" | "cancelled";

/** The wait after attempt n: `min(capMs, baseMs * factor^(n-1))`, shortened at random by up to half. */
export interface Backoff {
  /** Wait before the second attempt, milliseconds. Default 1000. */
  readonly baseMs: number;
  /** Growth from one wait to the next, at least 1. Default 2. */
  readonly factor: number;
  /** Longest wait, milliseconds. Default 60_000. */
  readonly capMs: number;
}

export interface NewTask {
  /** The caller's id, unique in the queue; enqueueing an id that exists adds nothing. Default: made by the queue. */
  readonly id?: string;
  /** What kind of work it is; a claim may ask for certain types only. */
  readonly type: string;
  readonly payload: Json;
  /** Default normal. */
  readonly priority?: TaskPriority;
  /** Not before this many milliseconds from now, by the store's clock. Default 0. */
  readonly delayMs?: number;
  /** Attempts in all, 1 to 1000. Default 3. */
  readonly maxAttempts?: number;
  readonly backoff?: Partial<Backoff>;
  /** Tasks that belong together (a workflow of a job): the unit of `cancelGroup` and `results`. */
  readonly group?: string;
  /** While a task with this key is pending or claimed, enqueueing another adds nothing and returns its id. */
  readonly dedupeKey?: string;
}

export interface ClaimedTask {
  readonly id: string;
  readonly type: string;
  readonly payload: Json;
  readonly group: string | undefined;
  /** The fence of this claim: larger than that of any earlier claim of this task. */
  readonly token: bigint;
  /** Starts at 1. A lapsed lease counts as an attempt. */
  readonly attempt: number;
  readonly maxAttempts: number;
  readonly enqueuedAt: number;
}

/** A claim, named by task and token. Every write about a claim must name both. */
export interface TaskRef {
  readonly id: string;
  readonly token: bigint;
}

/** `stale`: this token does not hold the task (lease lapsed and reclaimed, finished, cancelled or unknown); nothing was changed. */
export type CompleteOutcome = "completed" | "stale";
export type FailOutcome = "retrying" | "dead" | "stale";
/** `cancelled` tells the worker to stop; `lost` that another may run it by now. */
export type RenewOutcome = "renewed" | "lost" | "cancelled";

export interface TaskFailure extends TaskRef {
  /** What went wrong, kept in the task's history (at most the last 20 failures, 4 KiB each). */
  readonly error: Json;
  /** False sends the task to dead letter at once. Default true. */
  readonly retry?: boolean;
  /** Overrides the computed backoff. */
  readonly retryDelayMs?: number;
  /** True gives the attempt back: the task was not really tried (its worker drained or crashed for another's fault). Default false. */
  readonly uncounted?: boolean;
}

export interface FailResult {
  readonly outcome: FailOutcome;
  readonly attempt: number;
  /** Set when retrying: when it may be claimed again, milliseconds from now. */
  readonly retryInMs?: number;
}

export interface QueueStats {
  readonly pending: number;
  readonly delayed: number;
  readonly claimed: number;
  readonly completed: number;
  readonly dead: number;
  readonly cancelled: number;
  /** Always the sum of the six above. */
  readonly total: number;
  /** Age of the oldest task that is due and not claimed, milliseconds; undefined when none is. */
  readonly oldestDueMs: number | undefined;
}

export interface TaskRecord {
  readonly id: string;
  readonly type: string;
  readonly state: TaskState;
  readonly payload: Json;
  readonly group: string | undefined;
  readonly attempt: number;
  readonly maxAttempts: number;
  readonly result: Json | undefined;
  readonly failures: readonly {
    readonly attempt: number;
    readonly at: number;
    readonly worker: string;
    readonly error: Json;
  }[];
  readonly worker: string | undefined;
  readonly enqueuedAt: number;
  readonly finishedAt: number | undefined;
}

/** A claim whose lease lapsed, as `recoverLapsed` found it. */
export interface LapsedTask {
  readonly id: string;
  readonly group: string | undefined;
  readonly attempt: number;
  readonly worker: string;
  /** `retrying` when it went back to pending, `dead` after its last attempt. */
  readonly outcome: "retrying" | "dead";
}

/**
 * Work handed to many workers, at least once, each claim under a lease with a fence token.
 *
 * Guaranteed: no enqueued task is lost; a task has at most one unexpired claim; a completion, failure or
 * renewal counts only with the token of the newest claim, so a task completes at most once; order is
 * priority, then due time, then enqueue order. All times are the store's. Every call takes many items and
 * makes one round trip. With `tx` the write joins the caller's transaction.
 */
export interface TaskQueue<Tx> {
  readonly name: string;
  /** Returns the id of each task, in order; of the existing one where an id or dedupe key was there already. */
  enqueue(tasks: readonly NewTask[], options?: Abortable & { readonly tx?: Tx }): Promise<readonly string[]>;
  /** Takes up to `maxCount` due tasks for `leaseMs`. Empty when none is due: see `onAvailable`. */
  claim(
    options: Abortable & {
      readonly worker: string;
      readonly maxCount: number;
      readonly leaseMs: number;
      /** Only these types. Default all. */
      readonly types?: readonly string[];
      readonly tx?: Tx;
    },
  ): Promise<readonly ClaimedTask[]>;
  renew(
    refs: readonly TaskRef[],
    options: Abortable & { readonly leaseMs: number },
  ): Promise<readonly RenewOutcome[]>;
  complete(
    completions: readonly (TaskRef & { readonly result?: Json })[],
    options?: Abortable & { readonly tx?: Tx },
  ): Promise<readonly CompleteOutcome[]>;
  fail(
    failures: readonly TaskFailure[],
    options?: Abortable & { readonly tx?: Tx },
  ): Promise<readonly FailResult[]>;
  /** Cancels every unfinished task of the groups. Running claims learn it from `renew` and cannot complete. Returns the count. */
  cancelGroups(groups: readonly string[], options?: Abortable & { readonly tx?: Tx }): Promise<number>;
  /** Sends lapsed claims back to pending (or to dead letter after the last attempt). Each is reported to one recoverer only. */
  recoverLapsed(
    options?: Abortable & { readonly limit?: number; readonly tx?: Tx },
  ): Promise<readonly LapsedTask[]>;
  /** Finished and unfinished tasks of a group, ordered by id; with `states` only those. */
  list(
    options: Abortable & {
      readonly group?: string;
      readonly states?: readonly TaskState[];
      readonly afterId?: string;
      readonly limit?: number;
      readonly tx?: Tx;
    },
  ): Promise<readonly TaskRecord[]>;
  get(id: string, options?: Abortable): Promise<TaskRecord | undefined>;
  /** Puts dead tasks back to pending with their attempts at 0; history stays. Returns the ids that were dead. */
  requeueDead(ids: readonly string[], options?: Abortable): Promise<readonly string[]>;
  stats(options?: Abortable): Promise<QueueStats>;
  /** Deletes completed and cancelled (with `states` others too, never pending or claimed) tasks that ended more than `olderThanMs` ago. */
  purge(
    options: Abortable & {
      readonly olderThanMs: number;
      readonly states?: readonly ("completed" | "cancelled" | "dead")[];
      readonly limit?: number;
    },
  ): Promise<number>;
  /** Deletes all tasks of the groups, whatever their state. For work that was forgotten on purpose. */
  deleteGroups(groups: readonly string[], options?: Abortable & { readonly tx?: Tx }): Promise<number>;
  /** Calls back (coalesced) when tasks may have become claimable. A hint: it may come for nothing, and a poll must back it up. */
  onAvailable(listener: () => void): () => void;
  /** Milliseconds until the next pending task is due or the next lease lapses; 0 when one is or has; undefined when there is none. */
  nextDueInMs(options?: Abortable): Promise<number | undefined>;
}
