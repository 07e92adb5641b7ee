import type { Abortable, Clock, Emitter, Logger } from "@holdfast/kernel";
import type { Json } from "../json.ts";
import type { ClaimedTask, FailResult, TaskQueue } from "./task-queue.ts";

export interface TaskContext {
  readonly task: ClaimedTask;
  /**
   * Aborts when the claim is lost (ClaimLostError), the task is cancelled (TaskCancelledError), its time is over
   * (TimeoutError) or the worker must stop. Stop soon: another worker may run the task.
   */
  readonly signal: AbortSignal;
  /**
   * Says how far the task has come: kept in its record, the newest only, at most 4 KiB as JSON. Does not wait.
   * @throws InvalidInputError for what is not plain JSON. What is too long is logged and left out.
   */
  readonly report: (progress: Json) => void;
}

/** Does the work of one task; what it resolves with is the task's result. It may run more than once for a task. */
export type TaskHandler = (context: TaskContext) => Promise<Json | undefined>;

/** Does the work of several tasks of one type together. */
export interface BatchHandler {
  /** Most tasks at a time, 1 to 10_000. It takes what is there and waits for no more. */
  readonly maxCount: number;
  /**
   * Resolves with one result for each task, in order; an Error fails that task alone. When it rejects, or resolves with
   * another number of results, all of them fail. `signal` aborts when any of them must stop.
   */
  run(
    contexts: readonly TaskContext[],
    options: { readonly signal: AbortSignal },
  ): Promise<readonly (Json | undefined | Error)[]>;
}

/** What a worker tells of its tasks, once the store has confirmed it. */
export interface WorkerEvents {
  readonly started: { readonly task: ClaimedTask };
  readonly completed: { readonly task: ClaimedTask; readonly result: Json | undefined };
  /** It will be tried again, or is dead: see `outcome`. */
  readonly failed: { readonly task: ClaimedTask; readonly error: Json } & FailResult;
  /** Its end could not be reported, or did not count, because the claim was not ours any more. */
  readonly lost: { readonly task: ClaimedTask };
  /** Nothing was there to claim, and nothing runs. */
  readonly idle: { readonly worker: string };
}

export interface WorkerOptions extends Abortable {
  readonly queue: TaskQueue<never>;
  /** This worker's name, for people. */
  readonly worker: string;
  /** By task type. Only tasks of these types, and of those in `batches`, are claimed. */
  readonly handlers?: Readonly<Record<string, TaskHandler>>;
  /** By task type: for work that is cheaper done together. */
  readonly batches?: Readonly<Record<string, BatchHandler>>;
  /** Most tasks at a time. Default 10. */
  readonly concurrency?: number;
  /**
   * Tasks claimed ahead of those that run, so that short ones need not wait for the store, 0 to 10_000. They are under
   * the worker's lease, so others cannot take them meanwhile. Default 0.
   *
   * While the queue has plenty, two claims are on their way at a time, and tasks that have ended no longer count while
   * they are reported, up to `prefetch` of them. Tasks then start in order but for those of two claims that overlap; with
   * a concurrency of 1 they always start in order.
   */
  readonly prefetch?: number;
  /**
   * Default 30_000; renewed every third of it. The tasks of a worker that died are handed out again after this and at
   * most a quarter of it, 2 s at most, before what came after them: with 2500 within 3.3 s where 200 workers were killed.
   */
  readonly leaseMs?: number;
  /** Longest run of one attempt, milliseconds, for tasks without a timeout of their own; then it counts as failed. Default: none. */
  readonly timeoutMs?: number;
  /** How long running tasks may go on after the signal aborted, before they are given back. Default 10_000. */
  readonly drainMs?: number;
  /** Errors for which trying again is useless; their task goes to dead letter at once. Default: none. */
  readonly isFinal?: (error: unknown) => boolean;
  /** Hears what becomes of this worker's tasks. */
  readonly events?: Emitter<WorkerEvents>;
  readonly clock?: Clock;
  readonly logger?: Logger;
}
