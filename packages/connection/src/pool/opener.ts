import { type Timer, withTimeout } from "@holdfast/kernel";
import type { PoolSettings } from "./pool-options.ts";

/** Wait before lost resources below `minCount` are opened again after a failure; doubles up to the cap. */
const REFILL_BASE_MS = 1_000;
const REFILL_CAP_MS = 30_000;

/** Opens resources one by one, each within its limit, and knows when to leave a dead server alone. */
export class Opener<T> {
  readonly #settings: PoolSettings<T>;
  #failureCount = 0;
  #rest: Timer | undefined;

  constructor(settings: PoolSettings<T>) {
    this.#settings = settings;
  }

  /** After a failure: openings that nobody waits for should not be tried yet. */
  get isResting(): boolean {
    return this.#rest !== undefined;
  }

  /**
   * @throws TimeoutError at `createTimeoutMs`, signal.reason, or what `create` threw. A resource that arrives
   * later all the same belongs to nobody and is handed to `onLate`.
   */
  async open(
    signal: AbortSignal,
    onBroken: (error?: Error) => void,
    onLate: (resource: T) => void,
  ): Promise<T> {
    const { clock, create, createTimeoutMs, name } = this.#settings;
    let made: Promise<T> | undefined;
    try {
      const resource = await withTimeout(
        clock,
        { operation: `opening a connection of ${name}`, timeoutMs: createTimeoutMs, signal },
        async (openSignal) => {
          made = create({ signal: openSignal, onBroken });
          return made;
        },
      );
      this.#failureCount = 0;
      return resource;
    } catch (error) {
      made?.then(onLate, () => undefined);
      throw error;
    }
  }

  /** Rests after a failure, longer each time, and calls back at the end. */
  rest(onEnd: () => void): void {
    this.#rest?.cancel();
    const waitMs = Math.min(REFILL_CAP_MS, REFILL_BASE_MS * 2 ** Math.min(this.#failureCount, 16));
    this.#failureCount += 1;
    this.#rest = this.#settings.clock.schedule(
      waitMs,
      () => {
        this.#rest = undefined;
        onEnd();
      },
      { unref: true },
    );
  }

  stop(): void {
    this.#rest?.cancel();
    this.#rest = undefined;
  }
}
