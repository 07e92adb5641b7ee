import { type Clock, hasCode, isHoldfastError, type Logger } from "@holdfast/kernel";
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
  /** A result that no store could take (too large, or no JSON): its task is to be reported as failed. */
  readonly onRefused: (held: HeldTask, error: unknown) => void;
}

type Completed = End & { readonly failure?: undefined };

/**
 * Tells the queue how tasks ended, as many in one call as have ended meanwhile. A report is idempotent by its
 * token, so it is repeated until it is answered or its claim is over. What waits here is bounded by what the
 * worker may hold.
 */
export class TaskReports {
  readonly #options: TaskReportsOptions;
  #completed: Completed[] = [];
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
      await this.#completeTogether(ends);
    }
    this.#completing = undefined;
  }

  async #completeTogether(ends: readonly Completed[]): Promise<void> {
    const { queue, onReported, onRefused } = this.#options;
    try {
      const outcomes = await queue.complete(
        ends.map(({ held: { task }, result }) =>
          result === undefined
            ? { id: task.id, token: task.token }
            : { id: task.id, token: task.token, result },
        ),
      );
      onReported(ends.map((end, index) => ({ end, outcome: outcomes[index] as CompleteOutcome })));
    } catch (err) {
      if (!isRefusal(err)) {
        await this.#tryLater(err, ends, (left) => this.#completed.unshift(...left));
      } else if (ends.length === 1) {
        onRefused((ends[0] as Completed).held, err);
      } else {
        // Nothing was sent. One result that cannot be stored must not make tasks run again that ended beside it.
        const middle = ends.length >> 1;
        await this.#completeTogether(ends.slice(0, middle));
        await this.#completeTogether(ends.slice(middle));
      }
    }
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
      await this.#progressTogether(reports);
    }
    this.#progressing = undefined;
  }

  async #progressTogether(reports: readonly (readonly [HeldTask, Json])[]): Promise<void> {
    try {
      await this.#options.queue.reportProgress(
        reports.map(([{ task }, progress]) => ({ id: task.id, token: task.token, progress })),
      );
    } catch (err) {
      if (isRefusal(err) && reports.length > 1) {
        const middle = reports.length >> 1;
        await this.#progressTogether(reports.slice(0, middle));
        await this.#progressTogether(reports.slice(middle));
        return;
      }
      // Progress is for watching: the next report brings it up to date.
      this.#options.logger.warn({ err, count: reports.length }, "could not report progress");
    }
  }
}

/** What was given is at fault: it was found before anything was sent. */
const isRefusal = (error: unknown): boolean =>
  hasCode(error, "KERNEL_INVALID_INPUT") || hasCode(error, "COORDINATION_PAYLOAD_TOO_LARGE");
