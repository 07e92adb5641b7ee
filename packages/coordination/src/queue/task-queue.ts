import type { Abortable } from "@holdfast/kernel";
import type { Json } from "../json.ts";
import type { ScheduleTable } from "./schedule-table.ts";

export const TASK_PRIORITIES = ["low", "normal", "high", "critical"] as const;
export type TaskPriority = (typeof TASK_PRIORITIES)[number];

/** `waiting`: tasks named in its `after` have not ended yet. */
export type TaskState = "waiting" | "pending" | "claimed" | "completed" | "dead" | "cancelled";

export const BACKOFF_KINDS = ["exponential", "linear", "fibonacci", "decorrelated"] as const;
/**
 * How the wait after attempt n grows, before `capMs` and jitter. `exponential`: `baseMs * factor^(n-1)`, so factor 1
 * is a fixed wait. `linear`: `baseMs * (1 + factor * (n-1))`. `fibonacci`: `baseMs` times 1, 1, 2, 3, 5 …
 * `decorrelated`: anything from `baseMs` to three times the wait before; it takes no jitter.
 */
export type BackoffKind = (typeof BACKOFF_KINDS)[number];

export const JITTER_KINDS = ["half", "full", "none"] as const;
/** How much of a wait chance may take away: up to half, all of it, or nothing. */
export type JitterKind = (typeof JITTER_KINDS)[number];

/** The wait after a failed attempt. */
export interface Backoff {
  /** Wait before the second attempt, milliseconds. Default 1000. */
  readonly baseMs: number;
  /** Growth from one wait to the next: at least 1, for `linear` at least 0. Default 2. */
  readonly factor: number;
  /** Longest wait, milliseconds. Default 60_000. */
  readonly capMs: number;
  /** Default `exponential`. */
  readonly kind: BackoffKind;
  /** Default `half`. */
  readonly jitter: JitterKind;
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
  /** While a task with this key is waiting, pending or claimed, enqueueing another adds nothing and returns its id. */
  readonly dedupeKey?: string;
  /**
   * The dedupe key also counts for this many milliseconds from now, whatever becomes of the task. Needs a
   * `dedupeKey`. Default 0: only while the task lives.
   */
  readonly dedupeWindowMs?: number;
  /** Whose limits it falls under (a customer, a host): see {@link QueueLimits}. Without limits it means nothing. */
  readonly limitKey?: string;
  /**
   * Ids of tasks of this queue, or of this call, that must have ended first; until then the task is `waiting`. What is
   * not known (never enqueued, or completed and gone) counts as ended. At most 1000.
   */
  readonly after?: readonly string[];
  /** What an `after` must have come to. Default `completed`: a dead one holds its dependents until it is requeued. */
  readonly afterEnd?: "completed" | "any";
  /** Longest run of one attempt, milliseconds: a worker then aborts it and it counts as failed. Default: the worker's own. */
  readonly timeoutMs?: number;
  /** False: a completed task leaves nothing behind, neither result nor id. The cheapest way. Default true. */
  readonly keepCompleted?: boolean;
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
  /** What the task was enqueued with; a worker enforces it. */
  readonly timeoutMs: number | undefined;
}

/** A claim, named by task and token. Every write about a claim must name both. */
export interface TaskRef {
  readonly id: string;
  readonly token: bigint;
}

/** `stale`: this token does not hold the task (lease lapsed and reclaimed, finished, cancelled or unknown); nothing was changed. */
export type CompleteOutcome = "completed" | "stale";
export type FailOutcome = "retrying" | "dead" | "stale";
export type ProgressOutcome = "recorded" | "stale";
/** `cancelled` tells the worker to stop; `lost` that another may run it by now. */
export type RenewOutcome = "renewed" | "lost" | "cancelled";

export interface TaskFailure extends TaskRef {
  /** What went wrong, kept in the task's history (at most the last 20 failures, 4 KiB each). */
  readonly error: Json;
  /** False sends the task to dead letter at once. Default true. */
  readonly retry?: boolean;
  /** Overrides the computed backoff. */
  readonly retryDelayMs?: number;
  /**
   * True gives the attempt back: the task was not really tried (its worker drained or crashed for another's fault).
   * Without `retryDelayMs` it gives its place back too, before what was enqueued after it. Default false.
   */
  readonly uncounted?: boolean;
}

export interface FailResult {
  readonly outcome: FailOutcome;
  readonly attempt: number;
  /** Set when retrying: when it may be claimed again, milliseconds from now. */
  readonly retryInMs?: number;
}

export interface QueueStats {
  /** Held back by `after`. */
  readonly waiting: number;
  readonly pending: number;
  readonly delayed: number;
  readonly claimed: number;
  readonly completed: number;
  readonly dead: number;
  readonly cancelled: number;
  /** Always the sum of the seven above. */
  readonly total: number;
  /** Age of the oldest task that is due and not claimed, milliseconds; undefined when none is. */
  readonly oldestDueMs: number | undefined;
  /** Unfinished tasks that have failed or lapsed at least once. */
  readonly retrying: number;
  readonly paused: boolean;
}

/** At most `count` starts at once, refilled evenly over `perMs`: a token bucket. */
export interface RateLimit {
  /** 1 to 1_000_000. */
  readonly count: number;
  /** 1 ms to a day. */
  readonly perMs: number;
}

/** What may run at once, and how many may start in a time; counted by the store, for all workers together. */
export interface Limits {
  /** Claims at a time, 1 to 100_000. A lapsed claim counts until it is recovered. */
  readonly concurrency?: number;
  readonly rate?: RateLimit;
}

export interface QueueLimits extends Limits {
  /** The same for each `limitKey` by itself. Tasks without a key are free of it. */
  readonly perKey?: Limits;
}

export interface QueueSettings {
  readonly paused: boolean;
  readonly limits: QueueLimits | undefined;
}

export interface TaskRecord {
  readonly id: string;
  readonly type: string;
  readonly state: TaskState;
  /** What cannot be read any more (its last failure then says DAMAGED) is the stored text. */
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
  /** What the claim's worker reported last; undefined before. */
  readonly progress: Json | undefined;
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
 * makes one round trip. With `tx` the write joins the caller's transaction; a store without transactions (Redis)
 * refuses it with UnsupportedError.
 */
export interface TaskQueue<Tx> {
  readonly name: string;
  /** Returns the id of each task, in order; of the existing one where an id or dedupe key was there already. */
  enqueue(tasks: readonly NewTask[], options?: Abortable & { readonly tx?: Tx }): Promise<readonly string[]>;
  /**
   * Takes up to `maxCount` due tasks for `leaseMs`. Empty when none is due: see `onAvailable`. A task that cannot be
   * read any more goes into dead letter instead, with DAMAGED as its failure, and into the log.
   */
  claim(
    options: Abortable & {
      readonly worker: string;
      readonly maxCount: number;
      readonly leaseMs: number;
      /** Only these types. Default all. */
      readonly types?: readonly string[];
      /** Only these priorities, in the same order as ever. Default all. */
      readonly priorities?: readonly TaskPriority[];
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
  /**
   * Sends lapsed claims back to pending (or to dead letter after the last attempt), each before what was enqueued after
   * it, so that it does not wait behind a backlog. Each is reported to one recoverer only.
   */
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
  /** Records how far claims have come; each overwrites the one before. At most 4 KiB each. */
  reportProgress(
    reports: readonly (TaskRef & { readonly progress: Json })[],
    options?: Abortable,
  ): Promise<readonly ProgressOutcome[]>;
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
  /**
   * Milliseconds until the next pending task is due or the next lease lapses; 0 when one is or has; undefined when there
   * is none. Where the store would have to look for long it says a second at most, and may not know of what came late. Tasks that a pause or a limit of the queue holds back do not count until it lets one go; those that the
   * limit of their key holds back do: who finds nothing to claim then should ask seldom.
   */
  nextDueInMs(options?: Abortable): Promise<number | undefined>;
  /** Hands out no more claims until `resume`; what runs goes on, and enqueueing too. For all workers, and kept by the store. */
  pause(options?: Abortable): Promise<void>;
  resume(options?: Abortable): Promise<void>;
  /** Replaces the queue's limits; undefined lifts them. Claims already given out stay. */
  setLimits(limits: QueueLimits | undefined, options?: Abortable): Promise<void>;
  settings(options?: Abortable): Promise<QueueSettings>;
  /** What is to be enqueued again and again. See `runSchedules`. */
  readonly schedules: ScheduleTable;
}
