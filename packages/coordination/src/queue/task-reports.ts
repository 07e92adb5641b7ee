import { type Clock, isHoldfastError, type Logger } from "@holdfast/kernel";
import type { Json } from "../json.ts";
import type { HeldTask } from "./held-claims.ts";
import type { CompleteOutcome, FailResult, TaskFailure, TaskQueue } from "./task-queue.ts";

/** Pause after the store did not answer. */
const OUTAGE_PAUSE_MS = 500;
const BATCH_MAX_COUNT = 2000;

export type End =
  | { readonly held: HeldTask; readonly result: Json | undefined; readonly failure?: undefined }
  | { readonly held: HeldTask; readonly failure: Omit<TaskFailure, "id" | "token"> };

/** What the queue answered to a report. */
export type Reported =
  | { readonly end: End; readonly outcome: CompleteOutcome }
  | { readonly end: End; readonly outcome: "failed"; readonly result: FailResult };

interface TaskReportsOptions {
  readonly queue: TaskQueue<never>;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly onReported: (reported: readonly Reported[]) => void;
}

/**
 * Tells the queue how tasks ended, as many in one call as have ended meanwhile. A report is idempotent by its
 * token, so it is repeated until it is answered or its claim is over. What waits here is bounded by what the
 * worker may hold.
 */
export class TaskReports {
  readonly #options: TaskReportsOptions;
  #completed: (End & { readonly failure?: undefined })[] = [];
  #failed: Extract<End, { readonly failure: object }>[] = [];
  #progress = new Map<HeldTask, Json>();
  #completing: Promise<void> | undefined;
  #failing: Promise<void> | undefined;
  #progressing: Promise<void> | undefined;
  /** What cannot be reported any more is given up once this is set: the worker has no more time. */
  isHurried = false;

  constructor(options: TaskReportsOptions) {
    this.#options = options;
  }

  add(end: End): void {
    this.#progress.delete(end.held);
    if (end.failure === undefined) {
      this.#completed.push(end);
      this.#completing ??= this.#complete();
    } else {
      this.#failed.push(end);
      this.#failing ??= this.#fail();
    }
  }

  /** Only the newest counts: one that was not sent yet is replaced. */
  progress(held: HeldTask, progress: Json): void {
    this.#progress.set(held, progress);
    this.#progressing ??= this.#reportProgress();
  }

  /** Waits until everything is reported or given up. */
  async settle(): Promise<void> {
    const underWay = (): readonly Promise<void>[] =>
      [this.#completing, this.#failing, this.#progressing].filter((step) => step !== undefined);
    for (let steps = underWay(); steps.length > 0; steps = underWay()) await Promise.all(steps);
  }

  async #complete(): Promise<void> {
    // Let what ends in this turn join the first call, also what starts only as others end.
    for (let count = 0; count < this.#completed.length; ) {
      count = this.#completed.length;
      await Promise.resolve();
    }
    while (this.#completed.length > 0) {
      const ends =
        this.#completed.length <= BATCH_MAX_COUNT
          ? this.#completed.splice(0)
          : this.#completed.splice(0, BATCH_MAX_COUNT);
      try {
        const outcomes = await this.#options.queue.complete(
          ends.map(({ held: { task }, result }) =>
            result === undefined
              ? { id: task.id, token: task.token }
              : { id: task.id, token: task.token, result },
          ),
        );
        this.#options.onReported(
          ends.map((end, index) => ({ end, outcome: outcomes[index] as CompleteOutcome })),
        );
      } catch (err) {
        await this.#tryLater(err, ends, (left) => this.#completed.unshift(...left));
      }
    }
    this.#completing = undefined;
  }

  async #fail(): Promise<void> {
    await Promise.resolve();
    while (this.#failed.length > 0) {
      const ends = this.#failed.splice(0, BATCH_MAX_COUNT);
      try {
        const results = await this.#options.queue.fail(
          ends.map(({ held: { task }, failure }) => ({ ...failure, id: task.id, token: task.token })),
        );
        this.#options.onReported(
          ends.map((end, index) => ({ end, outcome: "failed", result: results[index] as FailResult })),
        );
      } catch (err) {
        await this.#tryLater(err, ends, (left) => this.#failed.unshift(...left));
      }
    }
    this.#failing = undefined;
  }

  /** Those that cannot pass, alone or in time, are dropped: their claims lapse and others run the tasks again. */
  async #tryLater<E extends End>(
    err: unknown,
    ends: readonly E[],
    again: (left: readonly E[]) => void,
  ): Promise<void> {
    const { clock, logger, onReported } = this.#options;
    const mayPass = isHoldfastError(err) && (err.retryable || err.code === "KERNEL_OUTCOME_UNKNOWN");
    logger.warn({ err, count: ends.length }, "could not report how tasks ended");
    const left = mayPass && !this.isHurried ? ends.filter(({ held }) => held.isHeld) : [];
    const kept = new Set(left);
    onReported(ends.filter((end) => !kept.has(end)).map((end) => ({ end, outcome: "stale" })));
    if (left.length === 0) return;
    await clock.sleep(OUTAGE_PAUSE_MS);
    again(left.filter(({ held }) => held.isHeld));
    onReported(left.filter(({ held }) => !held.isHeld).map((end) => ({ end, outcome: "stale" })));
  }

  async #reportProgress(): Promise<void> {
    await Promise.resolve();
    while (this.#progress.size > 0) {
      const reports = [...this.#progress];
      this.#progress = new Map();
      try {
        await this.#options.queue.reportProgress(
          reports.map(([{ task }, progress]) => ({ id: task.id, token: task.token, progress })),
        );
      } catch (err) {
        // Progress is for watching: the next report brings it up to date.
        this.#options.logger.warn({ err, count: reports.length }, "could not report progress");
      }
    }
    this.#progressing = undefined;
  }
}
