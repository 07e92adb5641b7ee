import { type Abortable, type Clock, childController, Mutex } from "@holdfast/kernel";
import { checkWaitMs } from "./wait-in-line.ts";

/**
 * Those of one process who want the same lock: one of them asks the store, the others wait behind it, first come,
 * first served. So a release wakes one asker per process, not every waiter.
 */
export class Line {
  readonly #mutex = new Mutex();
  #holder = "another waiter of this process";

  /** Whether somebody of this process is waiting already. */
  get isWaiting(): boolean {
    return this.#mutex.isHeld;
  }

  /** Who had it when somebody of this line looked last. */
  sawHolder(holder: string): void {
    this.#holder = holder;
  }

  /**
   * Runs `ask` when it is one's turn, with what is left of `waitMs`.
   * @throws the error of `timedOut` when the turn does not come in time; signal.reason when aborted.
   */
  async join<T>(
    options: Abortable & {
      readonly clock: Clock;
      readonly waitMs: number;
      readonly timedOut: (holder: string) => Error;
    },
    ask: (waitMs: number) => Promise<T>,
  ): Promise<T> {
    const { clock, waitMs, timedOut } = options;
    checkWaitMs(waitMs);
    const endsAt = clock.monotonicNow() + waitMs;
    const turn = childController(options.signal);
    const timer = clock.schedule(waitMs, () => turn.abort(timedOut(this.#holder)));
    try {
      return await this.#mutex.run(
        () => {
          timer.cancel();
          return ask(Math.max(0, endsAt - clock.monotonicNow()));
        },
        { signal: turn.signal },
      );
    } finally {
      timer.cancel();
      turn.dispose();
    }
  }
}
