import { type Abortable, type Clock, type Deferred, deferred, OverloadedError } from "@holdfast/kernel";

/** Whether a caller needs what it waits for alone, or would share it. */
export type WaitKind = "alone" | "shared";

/**
 * Callers that wait for something to be handed to them, first come first served. A caller that aborts or times
 * out leaves the queue at once.
 */
export class WaitQueue<T> {
  readonly #name: string;
  readonly #maxCount: number;
  readonly #clock: Clock;
  // Insertion order is arrival order, and a waiter that gives up leaves in constant time.
  readonly #waiters = new Map<Deferred<T>, WaitKind>();

  constructor(options: { readonly name: string; readonly maxCount: number; readonly clock: Clock }) {
    this.#name = options.name;
    this.#maxCount = options.maxCount;
    this.#clock = options.clock;
  }

  get size(): number {
    return this.#waiters.size;
  }

  /**
   * @throws OverloadedError when `maxCount` callers wait already; retryable.
   * @throws what `onTimeout` makes, after `timeoutMs` milliseconds.
   * @throws signal.reason when aborted. In every case nothing was handed over.
   */
  async wait(
    options: Abortable & {
      readonly timeoutMs: number;
      readonly onTimeout: () => Error;
      /** Default "alone". */
      readonly kind?: WaitKind;
    },
  ): Promise<T> {
    const { signal } = options;
    signal?.throwIfAborted();
    if (this.#waiters.size >= this.#maxCount) throw new OverloadedError(this.#name, this.#maxCount);
    const waiter = deferred<T>();
    const giveUp = (reason: unknown): void => {
      if (this.#waiters.delete(waiter)) waiter.reject(reason);
    };
    const onAbort = (): void => giveUp(signal?.reason);
    this.#waiters.set(waiter, options.kind ?? "alone");
    signal?.addEventListener("abort", onAbort, { once: true });
    const timer = this.#clock.schedule(options.timeoutMs, () => giveUp(options.onTimeout()));
    try {
      return await waiter.promise;
    } finally {
      timer.cancel();
      signal?.removeEventListener("abort", onAbort);
    }
  }

  /** What the caller that waits longest wants; undefined when nobody waits. */
  get firstKind(): WaitKind | undefined {
    const [first] = this.#waiters.values();
    return first;
  }

  /** Gives `value` to the caller that waits longest; false when nobody waits. */
  hand(value: T): boolean {
    const waiter = this.#takeFirst();
    waiter?.resolve(value);
    return waiter !== undefined;
  }

  /** Turns away the caller that waits longest; false when nobody waits. */
  refuse(error: unknown): boolean {
    const waiter = this.#takeFirst();
    waiter?.reject(error);
    return waiter !== undefined;
  }

  /** Turns every waiting caller away. */
  refuseAll(error: unknown): void {
    for (let waiter = this.#takeFirst(); waiter !== undefined; waiter = this.#takeFirst())
      waiter.reject(error);
  }

  #takeFirst(): Deferred<T> | undefined {
    const [first] = this.#waiters.keys();
    if (first !== undefined) this.#waiters.delete(first);
    return first;
  }
}
