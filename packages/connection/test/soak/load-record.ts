import { isHoldfastError, systemClock } from "@holdfast/kernel";

export interface LoadStats {
  readonly askedCount: number;
  readonly answeredCount: number;
  /** Ended with an error, by its code. */
  readonly failures: Readonly<Record<string, number>>;
  /** Settled later than the deadline and a little, or not at all. */
  readonly hungCount: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly maxMs: number;
}

/** A busy machine may be this late with a timer; what hangs is later still. */
const GRACE_MS = 3_000;

/** How a load fared. Times count from when a request was due, so that a stalled loader hides nothing. */
export class LoadRecord {
  readonly #deadlineMs: number;
  readonly #createdAt = systemClock.monotonicNow();
  readonly #answeredMs: number[] = [];
  readonly #failures: Record<string, number> = {};
  #askedCount = 0;
  #endedCount = 0;
  #lateCount = 0;

  constructor(deadlineMs: number) {
    this.#deadlineMs = deadlineMs;
  }

  get ageMs(): number {
    return systemClock.monotonicNow() - this.#createdAt;
  }

  get isIncomplete(): boolean {
    return this.#endedCount < this.#askedCount;
  }

  asked(): void {
    this.#askedCount += 1;
  }

  ended(elapsedMs: number, error: unknown): void {
    this.#endedCount += 1;
    if (elapsedMs > this.#deadlineMs + GRACE_MS) this.#lateCount += 1;
    if (error === undefined) {
      this.#answeredMs.push(elapsedMs);
      return;
    }
    const name = isHoldfastError(error) ? error.code : String(error);
    this.#failures[name] = (this.#failures[name] ?? 0) + 1;
  }

  get stats(): LoadStats {
    const sorted = [...this.#answeredMs].sort((a, b) => a - b);
    const rank = (share: number): number =>
      Math.round(sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)] ?? 0);
    return {
      askedCount: this.#askedCount,
      answeredCount: sorted.length,
      failures: this.#failures,
      hungCount: this.#lateCount + this.#askedCount - this.#endedCount,
      p50Ms: rank(0.5),
      p99Ms: rank(0.99),
      maxMs: rank(1),
    };
  }
}
