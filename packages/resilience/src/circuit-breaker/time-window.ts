import { exceedsRatio, type OutcomeWindow, type RatioLimits } from "./outcome-window.ts";

/** Judges the calls that ended within the last `windowMs`, kept in `bucketCount` slices that expire one by one. */
export class TimeWindow implements OutcomeWindow {
  /** Outcomes are told apart by slice only. */
  readonly resolutionMs: number;
  readonly #limits: RatioLimits;
  readonly #bucketCount: number;
  // Per bucket three counters side by side: calls, failures, slow calls.
  readonly #buckets: Float64Array;
  #bucketEndsAt = 0;
  #current = 0;
  #callCount = 0;
  #failureCount = 0;
  #slowCount = 0;

  constructor(windowMs: number, bucketCount: number, limits: RatioLimits) {
    this.resolutionMs = windowMs / bucketCount;
    this.#bucketCount = bucketCount;
    this.#buckets = new Float64Array(bucketCount * 3);
    this.#limits = limits;
  }

  record(outcome: { readonly isFailure: boolean; readonly isSlow: boolean }, now: number): boolean {
    if (now >= this.#bucketEndsAt) this.#roll(now);
    const base = this.#current * 3;
    this.#add(base, 1);
    this.#callCount += 1;
    if (outcome.isFailure) {
      this.#add(base + 1, 1);
      this.#failureCount += 1;
    }
    if (outcome.isSlow) {
      this.#add(base + 2, 1);
      this.#slowCount += 1;
    }
    return exceedsRatio(this.#limits, this.#callCount, this.#failureCount, this.#slowCount);
  }

  reset(now: number): void {
    this.#buckets.fill(0);
    this.#current = 0;
    this.#bucketEndsAt = now + this.resolutionMs;
    this.#callCount = 0;
    this.#failureCount = 0;
    this.#slowCount = 0;
  }

  #add(index: number, amount: number): void {
    this.#buckets[index] = (this.#buckets[index] ?? 0) + amount;
  }

  /** Moves on to the bucket of `now` and drops those that left the window. */
  #roll(now: number): void {
    const steps = Math.floor((now - this.#bucketEndsAt) / this.resolutionMs) + 1;
    if (steps >= this.#bucketCount) {
      this.reset(now);
      return;
    }
    for (let step = 0; step < steps; step += 1) {
      this.#current = this.#current + 1 === this.#bucketCount ? 0 : this.#current + 1;
      const base = this.#current * 3;
      this.#callCount -= this.#buckets[base] ?? 0;
      this.#failureCount -= this.#buckets[base + 1] ?? 0;
      this.#slowCount -= this.#buckets[base + 2] ?? 0;
      this.#buckets.fill(0, base, base + 3);
    }
    this.#bucketEndsAt += steps * this.resolutionMs;
  }
}
