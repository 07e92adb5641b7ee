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
  /** Places whose wait is over, chained by `next`, at most as many as ever waited at once: the next to come take them. */
  #spare: Waiter<L> | undefined;

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
      const waiter = this.#place();
      waiter.begin(resolve, reject, now, signal);
      this.#deadlines.add(timeoutMs, waiter, now);
      const tail = this.#tail;
      waiter.previous = tail;
      if (tail === undefined) this.#head = waiter;
      else tail.next = waiter;
      this.#tail = waiter;
      this.#size += 1;
    });
  }

  /** Gives `lease` to the one that has waited longest, and returns since when. Only when someone waits. */
  serve(lease: L): number {
    const waiter = this.#head as Waiter<L>;
    const { resolve, since } = waiter;
    this.remove(waiter);
    this.#keep(waiter);
    resolve(lease);
    return since;
  }

  /** Fails the one that has waited longest; false when nobody waits. */
  fail(error: unknown): boolean {
    const waiter = this.#head;
    if (waiter === undefined) return false;
    const { reject } = waiter;
    this.remove(waiter);
    this.#keep(waiter);
    reject(error);
    return true;
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
    waiter.previous = undefined;
    waiter.next = undefined;
    waiter.settle();
  }

  /** For the waiter. */
  timeOut(waiter: Waiter<L>): void {
    this.remove(waiter);
    waiter.reject(this.#timeoutError(this.#clock.monotonicNow() - waiter.since));
  }

  #place(): Waiter<L> {
    const spare = this.#spare;
    if (spare === undefined) return new Waiter(this);
    this.#spare = spare.next;
    spare.next = undefined;
    return spare;
  }

  #keep(waiter: Waiter<L>): void {
    waiter.forget();
    waiter.next = this.#spare;
    this.#spare = waiter;
  }
}

const ignore = (): void => undefined;

class Waiter<L> extends Deadline {
  resolve: (lease: L) => void = ignore;
  reject: (reason: unknown) => void = ignore;
  /** Monotonic milliseconds. */
  since = Number.NaN;
  previous: Waiter<L> | undefined = undefined;
  next: Waiter<L> | undefined = undefined;
  readonly #line: AcquireLine<L>;
  #signal: AbortSignal | undefined = undefined;
  #onAbort: (() => void) | undefined = undefined;

  constructor(line: AcquireLine<L>) {
    super();
    this.#line = line;
  }

  begin(
    resolve: (lease: L) => void,
    reject: (reason: unknown) => void,
    since: number,
    signal: AbortSignal | undefined,
  ): void {
    this.resolve = resolve;
    this.reject = reject;
    this.since = since;
    if (signal === undefined) return;
    this.#signal = signal;
    this.#onAbort = () => {
      this.#line.remove(this);
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
    if (this.#onAbort === undefined) return;
    this.#signal?.removeEventListener("abort", this.#onAbort);
    this.#onAbort = undefined;
    this.#signal = undefined;
  }

  /** Holds on to nobody. */
  forget(): void {
    this.resolve = ignore;
    this.reject = ignore;
  }
}
