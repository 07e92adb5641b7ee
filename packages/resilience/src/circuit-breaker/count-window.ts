import { exceedsRatio, type OutcomeWindow, type RatioLimits } from "./outcome-window.ts";

const FAILURE = 1;
const SLOW = 2;

/** Judges the last `size` calls, however long ago they were. */
export class CountWindow implements OutcomeWindow {
  readonly resolutionMs = Number.POSITIVE_INFINITY;
  readonly #limits: RatioLimits;
  readonly #ring: Uint8Array;
  #next = 0;
  #callCount = 0;
  #failureCount = 0;
  #slowCount = 0;

  constructor(size: number, limits: RatioLimits) {
    this.#ring = new Uint8Array(size);
    this.#limits = limits;
  }

  record(outcome: { readonly isFailure: boolean; readonly isSlow: boolean }): boolean {
    const entry = (outcome.isFailure ? FAILURE : 0) | (outcome.isSlow ? SLOW : 0);
    if (this.#callCount === this.#ring.length) this.#count(this.#ring[this.#next] ?? 0, -1);
    else this.#callCount += 1;
    this.#ring[this.#next] = entry;
    this.#count(entry, 1);
    this.#next = this.#next + 1 === this.#ring.length ? 0 : this.#next + 1;
    return exceedsRatio(this.#limits, this.#callCount, this.#failureCount, this.#slowCount);
  }

  reset(): void {
    this.#next = 0;
    this.#callCount = 0;
    this.#failureCount = 0;
    this.#slowCount = 0;
  }

  #count(entry: number, change: 1 | -1): void {
    if ((entry & FAILURE) !== 0) this.#failureCount += change;
    if ((entry & SLOW) !== 0) this.#slowCount += change;
  }
}
