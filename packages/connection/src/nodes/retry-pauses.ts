import { type Abortable, type Clock, sleepOn, type Timer } from "@holdfast/kernel";

/**
 * The clock by which a client pauses before it asks again. When the client closes, every pause is over: nobody can be
 * asked any more, and a node may have asked for a pause of a minute.
 */
export class RetryPauses implements Clock {
  readonly #clock: Clock;
  readonly #ends = new Set<() => void>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  wallNow(): number {
    return this.#clock.wallNow();
  }

  monotonicNow(): number {
    return this.#clock.monotonicNow();
  }

  sleep(ms: number, options?: Abortable & { readonly unref?: boolean }): Promise<void> {
    return sleepOn(this, ms, options);
  }

  schedule(ms: number, callback: () => void, options?: { readonly unref?: boolean }): Timer {
    const end = (): void => {
      cancel();
      callback();
    };
    const timer = this.#clock.schedule(ms, end, options);
    const cancel = (): void => {
      this.#ends.delete(end);
      timer.cancel();
    };
    this.#ends.add(end);
    return { cancel };
  }

  /** Ends the pauses that are under way now. */
  endAll(): void {
    for (const end of [...this.#ends]) end();
  }
}
