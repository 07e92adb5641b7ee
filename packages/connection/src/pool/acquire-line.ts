import type { Clock } from "@holdfast/kernel";
import { Deadline, type DeadlineQueue } from "../link/deadline-queue.ts";

/**
 * Those who wait for a resource: first come, first served, each for a limited time, and any of them may leave from
 * wherever it stands at the cost of nothing.
 */
export class AcquireLine<L> {
  readonly #clock: Clock;
  readonly #deadlines: DeadlineQueue;
  /** Makes the error of one that waited too long. */
  readonly #timeoutError: (waitedMs: number) => Error;
  #head: Waiter<L> | undefined;
  #tail: Waiter<L> | undefined;
  #size = 0;

  constructor(clock: Clock, deadlines: DeadlineQueue, timeoutError: (waitedMs: number) => Error) {
    this.#clock = clock;
    this.#deadlines = deadlines;
    this.#timeoutError = timeoutError;
  }

  get size(): number {
    return this.#size;
  }

  /** An abort or a timeout leaves the line and nothing behind. */
  join(timeoutMs: number, signal: AbortSignal | undefined): Promise<L> {
    return new Promise((resolve, reject) => {
      const now = this.#clock.monotonicNow();
      const waiter = new Waiter<L>(this, resolve, reject, now, signal);
      this.#deadlines.add(timeoutMs, waiter, now);
      waiter.previous = this.#tail;
      if (this.#tail === undefined) this.#head = waiter;
      else this.#tail.next = waiter;
      this.#tail = waiter;
      this.#size += 1;
    });
  }

  /** Takes the one that has waited longest out of the line. */
  next(): Waiter<L> | undefined {
    const waiter = this.#head;
    if (waiter !== undefined) this.remove(waiter);
    return waiter;
  }

  /** Fails the one that has waited longest; false when nobody waits. */
  fail(error: unknown): boolean {
    const waiter = this.next();
    waiter?.reject(error);
    return waiter !== undefined;
  }

  failAll(error: unknown): void {
    while (this.fail(error));
  }

  /** For the waiter. */
  remove(waiter: Waiter<L>): void {
    this.#size -= 1;
    if (waiter.previous === undefined) this.#head = waiter.next;
    else waiter.previous.next = waiter.next;
    if (waiter.next === undefined) this.#tail = waiter.previous;
    else waiter.next.previous = waiter.previous;
    waiter.settle();
  }

  /** For the waiter. */
  timeOut(waiter: Waiter<L>): void {
    this.remove(waiter);
    waiter.reject(this.#timeoutError(this.#clock.monotonicNow() - waiter.since));
  }
}

export class Waiter<L> extends Deadline {
  readonly resolve: (lease: L) => void;
  readonly reject: (reason: unknown) => void;
  /** Monotonic milliseconds. */
  readonly since: number;
  previous: Waiter<L> | undefined;
  next: Waiter<L> | undefined;
  readonly #line: AcquireLine<L>;
  readonly #signal: AbortSignal | undefined;
  readonly #onAbort: (() => void) | undefined;

  constructor(
    line: AcquireLine<L>,
    resolve: (lease: L) => void,
    reject: (reason: unknown) => void,
    since: number,
    signal: AbortSignal | undefined,
  ) {
    super();
    this.#line = line;
    this.resolve = resolve;
    this.reject = reject;
    this.since = since;
    this.#signal = signal;
    if (signal === undefined) return;
    this.#onAbort = () => {
      line.remove(this);
      reject(signal.reason);
    };
    signal.addEventListener("abort", this.#onAbort, { once: true });
  }

  onDeadline(): void {
    this.#line.timeOut(this);
  }

  /** Out of the line: nothing may happen to it from outside any more. */
  settle(): void {
    this.cancelDeadline();
    if (this.#onAbort !== undefined) this.#signal?.removeEventListener("abort", this.#onAbort);
  }
}
