import {
  type Abortable,
  Batcher,
  type Clock,
  childController,
  deferred,
  isHoldfastError,
  type Logger,
  silentLogger,
  systemClock,
  TaskGroup,
  TimeoutError,
  toWireError,
  untilAborted,
} from "@holdfast/kernel";
import { ClaimLostError, TaskCancelledError } from "../errors.ts";
import { checkInteger, checkNumber } from "../input-checks.ts";
import type { Json } from "../json.ts";
import { ClaimKeeper, type KeptClaim } from "./claim-keeper.ts";
import { claimOrWait } from "./claim-or-wait.ts";
import type { ClaimedTask, TaskFailure, TaskQueue, TaskRef } from "./task-queue.ts";

export interface TaskContext {
  readonly task: ClaimedTask;
  /**
   * Aborts when the claim is lost (ClaimLostError), the task is cancelled (TaskCancelledError), its time is over
   * (TimeoutError) or the worker must stop. Stop soon: another worker may run the task.
   */
  readonly signal: AbortSignal;
}

/** Does the work of one task; what it resolves with is the task's result. It may run more than once for a task. */
export type TaskHandler = (context: TaskContext) => Promise<Json | undefined>;

export interface WorkerOptions extends Abortable {
  readonly queue: TaskQueue<never>;
  /** This worker's name, for people. */
  readonly worker: string;
  /** By task type. Only tasks of these types are claimed. */
  readonly handlers: Readonly<Record<string, TaskHandler>>;
  /** Most tasks at a time. Default 10. */
  readonly concurrency?: number;
  /** Default 30_000; renewed every third of it. */
  readonly leaseMs?: number;
  /** Longest run of one attempt, milliseconds; then it counts as failed. Default: none. */
  readonly timeoutMs?: number;
  /** How long running tasks may go on after the signal aborted, before they are given back. Default 10_000. */
  readonly drainMs?: number;
  /** Errors for which trying again is useless; their task goes to dead letter at once. Default: none. */
  readonly isFinal?: (error: unknown) => boolean;
  readonly clock?: Clock;
  readonly logger?: Logger;
}

/** Why a running task was aborted when its worker stopped. */
class DrainedError extends Error {
  override readonly name = "DrainedError";
}

/** Pause after the store did not answer. */
const OUTAGE_PAUSE_MS = 500;
const BATCH_MAX_COUNT = 1000;

/**
 * Works on a queue until the signal aborts: claims, renews, runs, completes or fails, and takes back what other
 * workers let lapse. Claims, completions and failures of many tasks share their round trips.
 *
 * Each task runs at least once. Its completion counts only under its newest claim, so effects that commit
 * with it (or carry its token) happen once. On abort no more is claimed, running tasks get `drainMs`, and what
 * is left is given back without counting the attempt; then it resolves.
 */
export const runWorker = async (options: WorkerOptions): Promise<void> => {
  const worker = new Worker(options);
  await worker.run();
};

class Worker {
  readonly #options: WorkerOptions;
  readonly #clock: Clock;
  readonly #logger: Logger;
  readonly #concurrency: number;
  readonly #leaseMs: number;
  readonly #claims: ClaimKeeper;
  readonly #completions: Batcher<TaskRef & { readonly result?: Json }, undefined>;
  readonly #failures: Batcher<TaskFailure, undefined>;
  /** Aborted when the drain is over. */
  readonly #draining = new AbortController();
  readonly #running = new Set<Promise<void>>();
  #onSlot: (() => void) | undefined;

  constructor(options: WorkerOptions) {
    const { queue, clock = systemClock, logger = silentLogger, concurrency = 10, leaseMs = 30_000 } = options;
    checkInteger("worker.concurrency", concurrency, 1, 10_000);
    if (options.timeoutMs !== undefined) checkNumber("worker.timeoutMs", options.timeoutMs, 1, 2 ** 31);
    this.#options = options;
    this.#clock = clock;
    this.#logger = logger.child({ queue: queue.name, worker: options.worker });
    this.#concurrency = concurrency;
    this.#leaseMs = leaseMs;
    this.#claims = new ClaimKeeper({ queue, leaseMs, clock, logger });
    const bounds = { batchMaxCount: BATCH_MAX_COUNT, pendingMaxCount: concurrency };
    this.#completions = new Batcher({
      ...bounds,
      name: "completions",
      run: async (items) => {
        await queue.complete(items);
        return items.map(() => undefined);
      },
    });
    this.#failures = new Batcher({
      ...bounds,
      name: "failures",
      run: async (items) => {
        await queue.fail(items);
        return items.map(() => undefined);
      },
    });
  }

  async run(): Promise<void> {
    const { signal, drainMs = 10_000 } = this.#options;
    const loops = new TaskGroup({ logger: this.#logger });
    const stopping = childController(signal);
    try {
      loops.spawn("recovery", (stop) => this.#recover(stop));
      await this.#claimUntil(stopping.signal);
    } finally {
      stopping.dispose();
      const drainEnd = this.#clock.schedule(drainMs, () => {
        this.#draining.abort(new DrainedError("the worker stops"));
      });
      while (this.#running.size > 0) await Promise.all([...this.#running]);
      drainEnd.cancel();
      await loops.stop();
      await this.#claims.close();
    }
  }

  async #claimUntil(signal: AbortSignal): Promise<void> {
    const { queue, worker, handlers } = this.#options;
    const types = Object.keys(handlers);
    while (!signal.aborted) {
      const maxCount = this.#concurrency - this.#running.size;
      try {
        if (maxCount === 0) await untilAborted(this.#slot(), signal);
        else {
          const { tasks, askedAt } = await claimOrWait(queue, {
            worker,
            maxCount,
            leaseMs: this.#leaseMs,
            types,
            waitMs: this.#leaseMs,
            clock: this.#clock,
            signal,
          });
          for (const task of tasks) this.#start(task, askedAt);
        }
      } catch (err) {
        if (signal.aborted) return;
        this.#logger.warn({ err }, "could not claim tasks; trying again");
        await this.#clock.sleep(OUTAGE_PAUSE_MS, { signal }).catch(() => undefined);
      }
    }
  }

  #slot(): Promise<void> {
    const slot = deferred<void>();
    this.#onSlot = () => slot.resolve();
    return slot.promise;
  }

  #start(task: ClaimedTask, askedAt: number): void {
    const claim = this.#claims.keep(task, { askedAt });
    const running = this.#work(task, claim).finally(() => {
      claim.drop();
      this.#running.delete(running);
      this.#onSlot?.();
      this.#onSlot = undefined;
    });
    this.#running.add(running);
  }

  async #work(task: ClaimedTask, claim: KeptClaim): Promise<void> {
    const { handlers, timeoutMs, isFinal = () => false } = this.#options;
    const stop = childController(claim.signal, this.#draining.signal);
    const timer =
      timeoutMs === undefined
        ? undefined
        : this.#clock.schedule(timeoutMs, () => stop.abort(new TimeoutError(`task ${task.id}`, timeoutMs)));
    let report: () => Promise<undefined>;
    try {
      const handler = handlers[task.type] as TaskHandler;
      const result = await settledOrAborted(handler({ task, signal: stop.signal }), stop.signal);
      report = () => this.#completions.add(result === undefined ? task : { ...task, result });
    } catch (error) {
      if (error instanceof ClaimLostError || error instanceof TaskCancelledError) {
        this.#logger.info({ err: error, taskId: task.id }, "stopped a task that is not ours any more");
        return;
      }
      const drained = error instanceof DrainedError;
      const failure: TaskFailure = {
        id: task.id,
        token: task.token,
        error: toJson(error),
        retry: drained || !isFinal(error),
        ...(drained ? { uncounted: true, retryDelayMs: 0 } : {}),
      };
      report = () => this.#failures.add(failure);
    } finally {
      timer?.cancel();
      stop.dispose();
    }
    await this.#reportWhileHeld(report, task, claim);
  }

  /** A report is idempotent by its token, so it is repeated until it is answered or the claim is over. */
  async #reportWhileHeld(
    report: () => Promise<undefined>,
    task: ClaimedTask,
    claim: KeptClaim,
  ): Promise<void> {
    for (;;) {
      try {
        await report();
        return;
      } catch (err) {
        const mayPass = isHoldfastError(err) && (err.retryable || err.code === "KERNEL_OUTCOME_UNKNOWN");
        this.#logger.warn({ err, taskId: task.id }, "could not report a task's end");
        if (!mayPass || !claim.isHeld || this.#draining.signal.aborted) return;
        await this.#clock.sleep(OUTAGE_PAUSE_MS);
      }
    }
  }

  async #recover(signal: AbortSignal): Promise<void> {
    for (;;) {
      await this.#clock.sleep(this.#leaseMs / 2, { signal });
      try {
        const lapsed = await this.#options.queue.recoverLapsed({ signal });
        for (const task of lapsed) this.#logger.warn({ ...task }, "took back a task whose claim had lapsed");
      } catch (err) {
        if (signal.aborted) return;
        this.#logger.warn({ err }, "could not look for lapsed claims; trying again");
      }
    }
  }
}

/** Waits for the handler, but not beyond the abort: a handler that ignores its signal must not hold its slot. */
const settledOrAborted = <T>(handling: Promise<T>, signal: AbortSignal): Promise<T> =>
  new Promise((resolve, reject) => {
    const onAbort = (): void => reject(signal.reason);
    if (signal.aborted) onAbort();
    else signal.addEventListener("abort", onAbort, { once: true });
    handling.then(resolve, reject).finally(() => signal.removeEventListener("abort", onAbort));
  });

const toJson = (error: unknown): Json => {
  const { code, message, retryable, details } = toWireError(error);
  try {
    return JSON.parse(
      JSON.stringify({ code, message, retryable, ...(details === undefined ? {} : { details }) }),
    );
  } catch {
    return { code, message, retryable };
  }
};
