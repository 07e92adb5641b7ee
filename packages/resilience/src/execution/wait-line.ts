import type { Clock } from "@holdfast/kernel";
import type { CallScope } from "./call-scope.ts";

interface Waiter {
  readonly weight: number;
  readonly serve: () => void;
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
        serve: () => {
          leave();
          resolve("served");
        },
      };
      const timer = Number.isFinite(options.waitMaxMs)
        ? this.#clock.schedule(options.waitMaxMs, () => {
            leave();
            this.#timedOutCount += 1;
            resolve("timed-out");
          })
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
