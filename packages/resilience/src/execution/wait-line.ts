import type { Clock } from "@holdfast/kernel";
import type { CallScope } from "./call-scope.ts";

interface Waiter {
  readonly weight: number;
  readonly endsAt: number;
  readonly serve: () => void;
  readonly timeOut: () => void;
}

/** Why a wait ended without being served. */
export type WaitEnd = "served" | "timed-out";

/** Callers waiting their turn, first come first served. The owner bounds it: it asks `size` before `join`. */
export class WaitLine {
  readonly #clock: Clock;
  // A Set keeps the order of coming and lets an aborted waiter leave from the middle at once.
  readonly #waiters = new Set<Waiter>();
  #abortedCount = 0;
  #timedOutCount = 0;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  get size(): number {
    return this.#waiters.size;
  }

  /** Waits that ended by their signal. */
  get abortedCount(): number {
    return this.#abortedCount;
  }

  /** Waits that ended by their limit. */
  get timedOutCount(): number {
    return this.#timedOutCount;
  }

  /** What the first in line waits for; undefined when the line is empty. */
  get firstWeight(): number | undefined {
    for (const waiter of this.#waiters) return waiter.weight;
    return undefined;
  }

  /** Lets the first in line go. False when the line is empty. */
  serveFirst(): boolean {
    for (const waiter of this.#waiters) {
      this.#waiters.delete(waiter);
      waiter.serve();
      return true;
    }
    return false;
  }

  /**
   * Ends the waits in front that are over, also when their timers had no chance to fire yet: work that holds up the
   * event loop holds up timers, and whoever is served after that would get an answer that comes too late.
   */
  endLate(): void {
    const now = this.#clock.monotonicNow();
    for (const waiter of this.#waiters) {
      if (waiter.endsAt > now) return;
      waiter.timeOut();
    }
  }

  /**
   * Waits at the end of the line for `waitMaxMs` at most (Infinity: without end).
   * @throws scope.reason when the scope is aborted; the place in the line is gone then.
   */
  join(
    scope: CallScope,
    options: { readonly waitMaxMs: number; readonly weight?: number },
  ): Promise<WaitEnd> {
    scope.throwIfAborted();
    return new Promise<WaitEnd>((resolve, reject) => {
      const leave = (): void => {
        this.#waiters.delete(waiter);
        timer?.cancel();
        scope.onAbort(undefined);
      };
      const waiter: Waiter = {
        weight: options.weight ?? 1,
        endsAt: this.#clock.monotonicNow() + options.waitMaxMs,
        serve: () => {
          leave();
          resolve("served");
        },
        timeOut: () => {
          leave();
          this.#timedOutCount += 1;
          resolve("timed-out");
        },
      };
      const timer = Number.isFinite(options.waitMaxMs)
        ? this.#clock.schedule(options.waitMaxMs, waiter.timeOut)
        : undefined;
      scope.onAbort((reason) => {
        leave();
        this.#abortedCount += 1;
        reject(reason);
      });
      this.#waiters.add(waiter);
    });
  }
}
