import type { Abortable } from "./abort.ts";

/** Mutual exclusion inside one process, first come first served. */
export class Mutex {
  readonly #waiters: (() => void)[] = [];
  #held = false;

  get isHeld(): boolean {
    return this.#held;
  }

  /**
   * Waits for its turn, runs `body`, and lets the next one in when it settles.
   * @throws signal.reason when aborted while waiting; `body` did not start.
   */
  async run<T>(body: () => Promise<T>, options: Abortable = {}): Promise<T> {
    await this.#enter(options.signal);
    try {
      return await body();
    } finally {
      const next = this.#waiters.shift();
      if (next === undefined) this.#held = false;
      else next();
    }
  }

  async #enter(signal: AbortSignal | undefined): Promise<void> {
    signal?.throwIfAborted();
    if (!this.#held) {
      this.#held = true;
      return;
    }
    await new Promise<void>((resolve, reject) => {
      const waiter = (): void => {
        signal?.removeEventListener("abort", onAbort);
        resolve();
      };
      const onAbort = (): void => {
        const index = this.#waiters.indexOf(waiter);
        if (index >= 0) this.#waiters.splice(index, 1);
        reject(signal?.reason);
      };
      this.#waiters.push(waiter);
      signal?.addEventListener("abort", onAbort, { once: true });
    });
  }
}
