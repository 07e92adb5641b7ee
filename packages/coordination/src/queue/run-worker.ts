import {
  type Clock,
  childController,
  type Deferred,
  deferred,
  InvalidInputError,
  type Logger,
  silentLogger,
  systemClock,
  TaskGroup,
  untilAborted,
} from "@holdfast/kernel";
import { ClaimLostError, TaskCancelledError } from "../errors.ts";
import { checkInteger, checkNumber, checkText } from "../input-checks.ts";
import type { Json } from "../json.ts";
import { claimOrWait } from "./claim-or-wait.ts";
import { ClaimPace } from "./claim-pace.ts";
import { failureJson } from "./failure-json.ts";
import { HeldClaims, type HeldTask, sharedSignal } from "./held-claims.ts";
import { checkLeaseMs } from "./queue-checks.ts";
import { WORKER_MAX_LENGTH } from "./task-draft.ts";
import type { LapsedTask } from "./task-queue.ts";
import { type Reported, TaskReports } from "./task-reports.ts";
import type { BatchHandler, TaskHandler, WorkerOptions } from "./worker-options.ts";

/** Why a running task was aborted when its worker stopped. */
class DrainedError extends Error {
  override readonly name = "DrainedError";
}

/** A dead worker's tasks wait at most so long after their leases ended, also where leases are long. */
const RECOVER_EVERY_MAX_MS = 2000;
/** Lapsed claims that are taken back in one call; where there are more, the next call follows at once. */
const RECOVER_MAX_COUNT = 1000;

/** Pause after the store did not answer. */
const OUTAGE_PAUSE_MS = 500;

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
  readonly #handlers: Readonly<Record<string, TaskHandler>>;
  readonly #batches: Readonly<Record<string, BatchHandler>>;
  readonly #concurrency: number;
  readonly #prefetch: number;
  readonly #pace: ClaimPace;
  readonly #leaseMs: number;
  readonly #claims: HeldClaims;
  readonly #reports: TaskReports;
  /** Claimed, not started. */
  #ready: HeldTask[] = [];
  #readyAt = 0;
  readonly #running = new Set<HeldTask>();
  /** Everything claimed whose end is not reported yet. */
  #heldCount = 0;
  #change: Deferred<void> | undefined;
  #isStopping = false;

  constructor(options: WorkerOptions) {
    const { queue, clock = systemClock, logger = silentLogger, leaseMs = 30_000 } = options;
    const { concurrency = 10, prefetch = 0, handlers = {}, batches = {} } = options;
    checkText("worker.worker", options.worker, WORKER_MAX_LENGTH);
    checkLeaseMs(leaseMs);
    checkInteger("worker.concurrency", concurrency, 1, 10_000);
    checkInteger("worker.prefetch", prefetch, 0, 10_000);
    checkNumber("worker.drainMs", options.drainMs ?? 0, 0, 2 ** 31 - 1);
    if (options.timeoutMs !== undefined) checkNumber("worker.timeoutMs", options.timeoutMs, 1, 2 ** 31);
    for (const [type, { maxCount }] of Object.entries(batches)) {
      checkInteger(`worker.batches.${type}.maxCount`, maxCount, 1, 10_000);
    }
    this.#options = options;
    this.#clock = clock;
    this.#logger = logger.child({ queue: queue.name, worker: options.worker });
    this.#handlers = handlers;
    this.#batches = batches;
    this.#concurrency = concurrency;
    this.#prefetch = prefetch;
    this.#pace = new ClaimPace(concurrency, prefetch);
    this.#leaseMs = leaseMs;
    this.#reports = new TaskReports({
      queue,
      clock,
      logger: this.#logger,
      onReported: (reported) => this.#onReported(reported),
      onRefused: (held, error) => this.#reportFailure(held, error),
    });
    this.#claims = new HeldClaims({
      queue,
      leaseMs,
      clock,
      logger,
      onProgress: (held, progress) => this.#reports.progress(held, progress),
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
      this.#isStopping = true;
      for (const held of this.#ready.splice(this.#readyAt)) this.#giveBack(held);
      const drainEnd = this.#clock.schedule(drainMs, () => {
        this.#reports.isHurried = true;
        for (const held of [...this.#running]) held.stop(new DrainedError("the worker stops"));
      });
      while (this.#heldCount > 0) await this.#changed();
      await this.#reports.settle();
      drainEnd.cancel();
      await loops.stop();
      await this.#claims.close();
    }
  }

  async #claimUntil(signal: AbortSignal): Promise<void> {
    const loops = [this.#claimLoop(signal, false)];
    // A second claim on its way keeps the store busy while the answer of the first is read. Which of them gets the earlier
    // tasks is open, so whoever runs one at a time claims one at a time.
    if (this.#prefetch > 0 && this.#concurrency > 1) loops.push(this.#claimLoop(signal, true));
    await Promise.all(loops);
  }

  /** @param isSecond Claims only beside the first, and where there is plenty. */
  async #claimLoop(signal: AbortSignal, isSecond: boolean): Promise<void> {
    const { queue, worker } = this.#options;
    const types = [...new Set([...Object.keys(this.#handlers), ...Object.keys(this.#batches)])];
    while (!signal.aborted) {
      const unfinishedCount = this.#running.size + this.#readyCount;
      const maxCount = this.#pace.countToAsk({ heldCount: this.#heldCount, unfinishedCount }, isSecond);
      try {
        if (maxCount === 0) {
          await untilAborted(this.#changed(), signal);
          continue;
        }
        const asking = this.#pace.begin(maxCount);
        const { tasks, askedAt } = await claimOrWait(queue, {
          worker,
          maxCount,
          leaseMs: this.#leaseMs,
          types,
          waitMs: isSecond ? 0 : this.#leaseMs,
          clock: this.#clock,
          onEmpty: () => {
            this.#pace.foundTooLittle();
            if (this.#heldCount === 0) this.#options.events?.emit("idle", { worker });
          },
          signal,
        }).finally(() => this.#pace.end(asking));
        this.#pace.found(asking, tasks.length);
        this.#heldCount += tasks.length;
        this.#ready.push(...this.#claims.keep(tasks, askedAt));
        this.#startReady();
        this.#tellChange();
      } catch (err) {
        if (signal.aborted) return;
        this.#pace.foundTooLittle();
        this.#logger.warn({ err }, "could not claim tasks; trying again");
        await this.#clock.sleep(OUTAGE_PAUSE_MS, { signal }).catch(() => undefined);
      }
    }
  }

  get #readyCount(): number {
    return this.#ready.length - this.#readyAt;
  }

  #changed(): Promise<void> {
    this.#change ??= deferred<void>();
    return this.#change.promise;
  }

  #tellChange(): void {
    const change = this.#change;
    this.#change = undefined;
    change?.resolve();
  }

  #startReady(): void {
    while (this.#readyAt < this.#ready.length && this.#running.size < this.#concurrency) {
      const held = this.#ready[this.#readyAt] as HeldTask;
      if (held.isStopped) {
        // Lost or cancelled while it waited for its turn.
        this.#readyAt += 1;
        this.#release(held);
        this.#options.events?.emit("lost", { task: held.task });
        continue;
      }
      const batch = this.#batches[held.task.type];
      if (batch !== undefined) {
        this.#startBatch(batch, this.#takeAlike(held.task.type, batch.maxCount));
        continue;
      }
      this.#readyAt += 1;
      this.#start(held);
    }
    if (this.#readyAt === this.#ready.length || this.#readyAt > 4096) {
      this.#ready.splice(0, this.#readyAt);
      this.#readyAt = 0;
    }
  }

  /** The next ready tasks of a type, as far as there are slots. */
  #takeAlike(type: string, maxCount: number): readonly HeldTask[] {
    const room = Math.min(maxCount, this.#concurrency - this.#running.size);
    const rest = this.#ready.splice(this.#readyAt);
    const taken: HeldTask[] = [];
    for (const held of rest) {
      if (held.task.type === type && taken.length < room) taken.push(held);
      else this.#ready.push(held);
    }
    return taken;
  }

  #begin(held: HeldTask): void {
    const timeoutMs = held.task.timeoutMs ?? this.#options.timeoutMs;
    if (timeoutMs !== undefined) held.limitTime(this.#clock, timeoutMs);
    this.#running.add(held);
    this.#options.events?.emit("started", { task: held.task });
    // A handler that ignores its signal must not hold its slot.
    held.onStop = (reason) => this.#failed(held, reason);
  }

  #start(held: HeldTask): void {
    this.#begin(held);
    try {
      const handling = (this.#handlers[held.task.type] as TaskHandler)(held);
      handling.then(
        (result) => this.#succeeded(held, result),
        (error: unknown) => this.#failed(held, error),
      );
    } catch (error) {
      this.#failed(held, error);
    }
  }

  #startBatch(batch: BatchHandler, held: readonly HeldTask[]): void {
    for (const one of held) this.#begin(one);
    const { signal, dispose } = sharedSignal(held);
    const failAll = (error: unknown): void => {
      for (const one of held) this.#failed(one, error);
    };
    try {
      batch
        .run(held, { signal })
        .then((results) => {
          checkResultCount(results, held);
          held.forEach((one, index) => {
            const result = results[index];
            if (result instanceof Error) this.#failed(one, result);
            else this.#succeeded(one, result);
          });
        })
        .catch(failAll)
        .finally(dispose);
    } catch (error) {
      dispose();
      failAll(error);
    }
  }

  #succeeded(held: HeldTask, result: Json | undefined): void {
    if (!this.#settle(held)) return;
    this.#reports.add({ held, result });
    this.#next();
  }

  #failed(held: HeldTask, error: unknown): void {
    if (!this.#settle(held)) return;
    if (error instanceof ClaimLostError || error instanceof TaskCancelledError) {
      this.#logger.info({ err: error, taskId: held.task.id }, "stopped a task that is not ours any more");
      this.#options.events?.emit("lost", { task: held.task });
      this.#release(held);
      this.#tellChange();
    } else if (error instanceof DrainedError) this.#giveBack(held);
    else this.#reportFailure(held, error);
    this.#next();
  }

  #reportFailure(held: HeldTask, error: unknown): void {
    let isFinal = false;
    try {
      isFinal = this.#options.isFinal?.(error) ?? false;
    } catch (err) {
      this.#logger.error({ err, taskId: held.task.id }, "isFinal threw; the task is tried again");
    }
    this.#reports.add({ held, failure: { error: failureJson(error), retry: !isFinal } });
  }

  /** False when it has ended before. */
  #settle(held: HeldTask): boolean {
    if (!this.#running.delete(held)) return false;
    held.settle();
    return true;
  }

  #next(): void {
    if (this.#isStopping) return;
    this.#startReady();
    if (this.#readyCount === 0) this.#tellChange();
  }

  #giveBack(held: HeldTask): void {
    const error = failureJson(new DrainedError("the worker stops"));
    this.#reports.add({ held, failure: { error, uncounted: true } });
  }

  #release(held: HeldTask): void {
    held.drop();
    this.#heldCount -= 1;
  }

  #onReported(reported: readonly Reported[]): void {
    const { events } = this.#options;
    for (const one of reported) {
      const { held } = one.end;
      this.#release(held);
      if (events === undefined) continue;
      const { task } = held;
      if (one.outcome === "completed" && one.end.failure === undefined) {
        events.emit("completed", { task, result: one.end.result });
      } else if (
        one.outcome === "failed" &&
        one.result.outcome !== "stale" &&
        one.end.failure !== undefined
      ) {
        events.emit("failed", { task, error: one.end.failure.error, ...one.result });
      } else events.emit("lost", { task });
    }
    this.#tellChange();
  }

  /** Begins at once: where workers die young, none might live until its second look. */
  async #recover(signal: AbortSignal): Promise<void> {
    const { queue } = this.#options;
    for (;;) {
      try {
        let lapsed: readonly LapsedTask[];
        do {
          lapsed = await queue.recoverLapsed({ limit: RECOVER_MAX_COUNT, signal });
          for (const task of lapsed)
            this.#logger.warn({ ...task }, "took back a task whose claim had lapsed");
        } while (lapsed.length === RECOVER_MAX_COUNT);
      } catch (err) {
        if (signal.aborted) return;
        this.#logger.warn({ err }, "could not look for lapsed claims; trying again");
      }
      await this.#clock.sleep(Math.min(this.#leaseMs / 4, RECOVER_EVERY_MAX_MS), { signal });
    }
  }
}

/** Fewer results would complete tasks that nobody did; nor is it known whose the others are. */
const checkResultCount = (results: readonly unknown[], held: readonly HeldTask[]): void => {
  if (results.length === held.length) return;
  const field = `the results of a batch of ${held[0]?.task.type ?? "tasks"}`;
  throw new InvalidInputError(field, results.length, `${held.length}, one for each task`);
};
