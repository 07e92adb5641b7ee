import { type Clock, type Deferred, deferred, type TaskGroup } from "@holdfast/kernel";

/** Work that is done again and again, with a pause in between that can be cut short. */
export class Repeating {
  readonly #clock: Clock;
  readonly #body: (signal: AbortSignal) => Promise<void>;
  readonly #pauseMs: () => number;
  readonly #restMs: number;
  #isPoked = false;
  #wake: (() => void) | undefined;
  /** Resolves when the round after the next start has ended. */
  #next: Deferred<void> = deferred();
  #isStopped = false;

  constructor(options: {
    readonly clock: Clock;
    /** Must not throw, except when its signal aborts. */
    readonly body: (signal: AbortSignal) => Promise<void>;
    /** Milliseconds until the next round. */
    readonly pauseMs: () => number;
    /** Milliseconds from the start of one round to that of the next at least, however often it is poked. */
    readonly restMs: number;
  }) {
    this.#restMs = options.restMs;
    this.#clock = options.clock;
    this.#body = options.body;
    this.#pauseMs = options.pauseMs;
  }

  start(name: string, tasks: TaskGroup): void {
    tasks.spawn(name, async (signal) => {
      signal.addEventListener("abort", () => this.stop(), { once: true });
      while (!this.#isStopped) {
        this.#isPoked = false;
        const startedAt = this.#clock.monotonicNow();
        const round = this.#next;
        this.#next = deferred();
        try {
          await this.#body(signal);
        } finally {
          round.resolve();
        }
        if (!this.#isStopped && !this.#isPoked) await this.#pause();
        const restMs = startedAt + this.#restMs - this.#clock.monotonicNow();
        if (!this.#isStopped && restMs > 0) await this.#rest(restMs, signal);
      }
    });
  }

  /** Has the next round begin now, or right after the one under way; after its rest in both cases. */
  poke(): void {
    this.#isPoked = true;
    this.#wake?.();
  }

  /** Resolves after a round that began after this call, or when stopped. */
  async afterNext(): Promise<void> {
    if (this.#isStopped) return;
    const { promise } = this.#next;
    this.poke();
    await promise;
  }

  stop(): void {
    this.#isStopped = true;
    this.#next.resolve();
    this.#wake?.();
  }

  async #rest(restMs: number, signal: AbortSignal): Promise<void> {
    try {
      // Unlike the pause it keeps the process alive: somebody may be waiting for the round after it.
      await this.#clock.sleep(restMs, { signal });
    } catch {
      // Its owner goes away, which ends the loop.
    }
  }

  async #pause(): Promise<void> {
    const { promise, resolve } = deferred<void>();
    this.#wake = resolve;
    const timer = this.#clock.schedule(this.#pauseMs(), resolve, { unref: true });
    await promise;
    timer.cancel();
    this.#wake = undefined;
  }
}
