import type { Clock } from "@holdfast/kernel";

/** The store's own time: starts at the wall clock's and then only moves forward, whatever the wall clock does. */
export class StoreClock {
  readonly #clock: Clock;
  readonly #startedAt: number;
  readonly #startedMonotonic: number;

  constructor(clock: Clock) {
    this.#clock = clock;
    this.#startedAt = clock.wallNow();
    this.#startedMonotonic = clock.monotonicNow();
  }

  /** Milliseconds since the epoch. */
  now(): number {
    return this.#startedAt + (this.#clock.monotonicNow() - this.#startedMonotonic);
  }
}
