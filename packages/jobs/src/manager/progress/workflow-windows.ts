import { isHoldfastError } from "@holdfast/kernel";
import type { Measurements } from "@holdfast/protocol/contract";
import { MeasurementSum } from "../../model/measurements.ts";

/** What one worker measured in one stretch of time, as differences. */
export interface WindowUpdate {
  readonly worker: string;
  /** Wall clock of the worker. */
  readonly windowStart: number;
  readonly measurements: Measurements;
}

/** A window that takes no more. */
export interface ClosedWindow {
  readonly windowStart: number;
  readonly workerCount: number;
  readonly measurements: Measurements;
}

interface OpenWindow {
  readonly windowStart: number;
  readonly sum: MeasurementSum;
  readonly workers: Set<string>;
}

/** A worker's clock that is further off than this is not believed: its report counts as of now. */
const CLOCK_ERROR_MAX_MS = 5_000;

/**
 * Sums what workers report about one workflow into buckets of time.
 *
 * A window closes `driftMs` after its end. What comes later goes into the oldest window that is still open, so
 * the sum over all windows is the sum over all reports; windows come out in order, each once. Reports must not
 * come twice: the caller drops repeats.
 */
export class WorkflowWindows {
  readonly #windowMs: number;
  readonly #driftMs: number;
  readonly #open = new Map<number, OpenWindow>();
  #closedUpTo = Number.NEGATIVE_INFINITY;

  constructor(options: { readonly windowMs: number; readonly driftMs: number }) {
    this.#windowMs = options.windowMs;
    this.#driftMs = options.driftMs;
  }

  get isEmpty(): boolean {
    return this.#open.size === 0;
  }

  /** @returns false when the report has too many names or an unreadable histogram: it is left out. */
  add(update: WindowUpdate, now: number): boolean {
    const isPlausible = Math.abs(update.windowStart - now) <= CLOCK_ERROR_MAX_MS;
    const start = Math.max(this.#bucket(isPlausible ? update.windowStart : now), this.#closedUpTo);
    let window = this.#open.get(start);
    if (window === undefined) {
      window = { windowStart: start, sum: new MeasurementSum(), workers: new Set() };
      this.#open.set(start, window);
    }
    window.workers.add(update.worker);
    try {
      window.sum.add(update.measurements);
      return true;
    } catch (error) {
      if (!isHoldfastError(error)) throw error;
      return false;
    }
  }

  /** The windows whose time is over, oldest first; all of them with `flush`. */
  take(now: number, options: { readonly flush?: boolean } = {}): readonly ClosedWindow[] {
    const ready = [...this.#open.values()]
      .filter(
        ({ windowStart }) => options.flush === true || now > windowStart + this.#windowMs + this.#driftMs,
      )
      .sort((a, b) => a.windowStart - b.windowStart);
    for (const { windowStart } of ready) {
      this.#open.delete(windowStart);
      this.#closedUpTo = Math.max(this.#closedUpTo, windowStart + this.#windowMs);
    }
    return ready.map(({ windowStart, sum, workers }) => ({
      windowStart,
      workerCount: workers.size,
      measurements: sum.toMeasurements(),
    }));
  }

  #bucket(instant: number): number {
    return Math.floor(instant / this.#windowMs) * this.#windowMs;
  }
}
