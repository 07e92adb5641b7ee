/** Log lines of one job per second; a job that writes more must not fill the store or hide other events. */
export const LOG_LINES_PER_SECOND = 200;

/** Lets a bounded number of lines per second through and counts the rest. */
export class LogBudget {
  #second = Number.NEGATIVE_INFINITY;
  #spent = 0;
  #dropped = 0;

  /** Whether one more line may pass at `now` (monotonic milliseconds). */
  allow(now: number): boolean {
    this.#enter(now);
    if (this.#spent >= LOG_LINES_PER_SECOND) {
      this.#dropped += 1;
      return false;
    }
    this.#spent += 1;
    return true;
  }

  /** How many lines were dropped before the current second and not told of yet. */
  takeDropped(now: number, options: { readonly flush?: boolean } = {}): number {
    if (options.flush !== true && Math.floor(now / 1_000) === this.#second) return 0;
    const dropped = this.#dropped;
    this.#dropped = 0;
    return dropped;
  }

  get hasDropped(): boolean {
    return this.#dropped > 0;
  }

  #enter(now: number): void {
    const second = Math.floor(now / 1_000);
    if (second === this.#second) return;
    this.#second = second;
    this.#spent = 0;
  }
}
