import type { Abortable } from "./abort.ts";

/**
 * Time as an input. Elapsed time comes from `monotonicNow`; `wallNow` goes into stored records only
 * and may jump in either direction.
 */
export interface Clock {
  /** Milliseconds since the Unix epoch. May jump. */
  wallNow(): number;
  /** Milliseconds since an arbitrary start; never goes back. May have a fraction. */
  monotonicNow(): number;
  /**
   * Resolves after at least `ms` milliseconds (values below 0 count as 0).
   * @throws signal.reason as soon as the signal aborts; the timer is gone then.
   */
  sleep(ms: number, options?: Abortable & { readonly unref?: boolean }): Promise<void>;
  /** Calls `callback` once after `ms` milliseconds unless cancelled first. The callback must not throw. */
  schedule(ms: number, callback: () => void, options?: { readonly unref?: boolean }): Timer;
}

/** A scheduled callback. `cancel` is idempotent. */
export interface Timer {
  cancel(): void;
}

/** Node caps a timer at 2^31 - 1 ms and fires at once above it; longer waits are cut to this. */
const TIMER_MAX_MS = 2_147_483_647;

const clampDelay = (ms: number): number => Math.min(Math.max(0, Number.isNaN(ms) ? 0 : ms), TIMER_MAX_MS);

/** Held here because every reading of the global costs as much as a fifth of asking it for the time. */
const { performance: monotonic } = globalThis;

/** The machine's own clock. */
export const systemClock: Clock = {
  wallNow: () => Date.now(),
  monotonicNow: () => monotonic.now(),
  schedule(ms, callback, options) {
    const handle = setTimeout(callback, clampDelay(ms));
    if (options?.unref && typeof handle === "object") handle.unref();
    return { cancel: () => clearTimeout(handle) };
  },
  sleep(ms, options) {
    return sleepOn(systemClock, ms, options);
  },
};

/** The one implementation of `sleep` over `schedule`, shared by every clock. */
export const sleepOn = (
  clock: Pick<Clock, "schedule">,
  ms: number,
  options: (Abortable & { readonly unref?: boolean }) | undefined,
): Promise<void> =>
  new Promise((resolve, reject) => {
    const signal = options?.signal;
    if (signal?.aborted) {
      reject(signal.reason);
      return;
    }
    const onAbort = (): void => {
      timer.cancel();
      reject(signal?.reason);
    };
    const timer = clock.schedule(
      ms,
      () => {
        signal?.removeEventListener("abort", onAbort);
        resolve();
      },
      options?.unref === undefined ? {} : { unref: options.unref },
    );
    signal?.addEventListener("abort", onAbort, { once: true });
  });
