import type { Clock } from "@holdfast/kernel";
import type { DeadlineQueue } from "../link/deadline-queue.ts";
import type { AcquireOptions } from "./pool-options.ts";
import { type Place, WaitingLine } from "./waiting-line.ts";

interface Waiter<L> {
  readonly resolve: (lease: L) => void;
  readonly reject: (reason: unknown) => void;
  readonly since: number;
  /** Ends the timer and the listener of the wait. */
  readonly settle: () => void;
}

/** Those who wait for a resource: first come, first served, each for a limited time. */
export class AcquireLine<L> {
  readonly #clock: Clock;
  readonly #deadlines: DeadlineQueue;
  readonly #line = new WaitingLine<Waiter<L>>();
  /** Makes the error of one that waited too long. */
  readonly #timeoutError: (waitedMs: number) => Error;

  constructor(clock: Clock, deadlines: DeadlineQueue, timeoutError: (waitedMs: number) => Error) {
    this.#clock = clock;
    this.#deadlines = deadlines;
    this.#timeoutError = timeoutError;
  }

  get size(): number {
    return this.#line.size;
  }

  /** An abort or a timeout leaves the line and nothing behind. */
  join({ signal, timeoutMs }: AcquireOptions & { readonly timeoutMs: number }): Promise<L> {
    return new Promise((resolve, reject) => {
      const since = this.#clock.monotonicNow();
      const leave = (reason: () => unknown): void => {
        if (!place.leave()) return;
        waiter.settle();
        reject(reason());
      };
      const onAbort = (): void => leave(() => signal?.reason);
      const deadline = this.#deadlines.add(timeoutMs, () =>
        leave(() => this.#timeoutError(this.#clock.monotonicNow() - since)),
      );
      const waiter: Waiter<L> = {
        resolve,
        reject,
        since,
        settle: () => {
          deadline.cancel();
          signal?.removeEventListener("abort", onAbort);
        },
      };
      signal?.addEventListener("abort", onAbort, { once: true });
      const place: Place<Waiter<L>> = this.#line.join(waiter);
    });
  }

  /** Serves the one that has waited longest. Returns how long it waited; undefined when nobody waits. */
  serve(lend: () => L): number | undefined {
    const waiter = this.#line.serve();
    if (waiter === undefined) return undefined;
    waiter.settle();
    waiter.resolve(lend());
    return this.#clock.monotonicNow() - waiter.since;
  }

  /** Fails the one that has waited longest; false when nobody waits. */
  fail(error: unknown): boolean {
    const waiter = this.#line.serve();
    waiter?.settle();
    waiter?.reject(error);
    return waiter !== undefined;
  }

  failAll(error: unknown): void {
    while (this.fail(error));
  }
}
