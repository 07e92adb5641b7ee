/** Figures of one kind of operation. Percentiles are nearest-rank over the last 1000; all 0 before the first. */
export interface OperationStats {
  readonly totalCount: number;
  readonly successCount: number;
  /** Failures other than timeouts. */
  readonly errorCount: number;
  readonly timeoutCount: number;
  readonly minMs: number;
  readonly maxMs: number;
  readonly meanMs: number;
  readonly p50Ms: number;
  readonly p95Ms: number;
  readonly p99Ms: number;
}

export type Outcome = "success" | "error" | "timeout";

const SAMPLES_MAX_COUNT = 1_000;

/** Counts operations of one kind and remembers how long the last ones took. */
export class OperationMetrics {
  /** A ring: the newest overwrites the oldest. */
  readonly #samples = new Float64Array(SAMPLES_MAX_COUNT);
  #totalCount = 0;
  readonly #outcomes: Record<Outcome, number> = { success: 0, error: 0, timeout: 0 };

  note(outcome: Outcome, elapsedMs: number): void {
    this.#samples[this.#totalCount % SAMPLES_MAX_COUNT] = elapsedMs;
    this.#totalCount += 1;
    this.#outcomes[outcome] += 1;
  }

  get stats(): OperationStats {
    const sorted = this.#samples.slice(0, Math.min(this.#totalCount, SAMPLES_MAX_COUNT)).sort();
    return {
      totalCount: this.#totalCount,
      successCount: this.#outcomes.success,
      errorCount: this.#outcomes.error,
      timeoutCount: this.#outcomes.timeout,
      minMs: sorted[0] ?? 0,
      maxMs: sorted[sorted.length - 1] ?? 0,
      meanMs: sorted.length === 0 ? 0 : sorted.reduce((sum, value) => sum + value, 0) / sorted.length,
      p50Ms: nearestRank(sorted, 0.5),
      p95Ms: nearestRank(sorted, 0.95),
      p99Ms: nearestRank(sorted, 0.99),
    };
  }
}

/** The smallest sample that at least this share of all does not exceed. `sorted` ascending. */
const nearestRank = (sorted: Float64Array, share: number): number =>
  sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)] ?? 0;
