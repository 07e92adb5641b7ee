import { type Clock, untilAborted } from "@holdfast/kernel";

/**
 * What was read last, for `keepMs`; one read at a time serves all who ask meanwhile. A failed read is remembered as
 * long, so that a server in trouble is not asked again and again.
 */
export class Remembered<T> {
  readonly #clock: Clock;
  readonly #keepMs: number;
  readonly #read: (signal: AbortSignal) => Promise<T>;
  #value: Promise<T> | undefined;
  #readAt = 0;
  #readAtWall = 0;

  constructor(clock: Clock, keepMs: number, read: (signal: AbortSignal) => Promise<T>) {
    this.#clock = clock;
    this.#keepMs = keepMs;
    this.#read = read;
  }

  /** When what is remembered was asked for, wall clock; 0 before the first time. */
  get readAt(): number {
    return this.#readAtWall;
  }

  /** @throws what `read` threw, or signal.reason when aborted while it reads. */
  get(signal: AbortSignal): Promise<T> {
    const now = this.#clock.monotonicNow();
    if (this.#value === undefined || now >= this.#readAt + this.#keepMs) {
      this.#readAt = now;
      this.#readAtWall = this.#clock.wallNow();
      const value = this.#read(signal);
      value.catch(() => undefined);
      this.#value = value;
    }
    return untilAborted(this.#value, signal);
  }
}
