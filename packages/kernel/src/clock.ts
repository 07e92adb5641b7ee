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

/** Node fires a timer of more at once; a longer wait is made of several. */
const TIMER_MAX_MS = 2_147_483_647;

/** Held here because every reading of the global costs as much as a fifth of asking it for the time. */
const { performance: monotonic } = globalThis;

/** The machine's own clock. */
export const systemClock: Clock = {
  wallNow: () => Date.now(),
  monotonicNow: () => monotonic.now(),
  schedule(ms, callback, options) {
    if (ms > TIMER_MAX_MS) return scheduleLong(ms, callback, options);
    const handle = setTimeout(callback, ms > 0 ? ms : 0);
    if (options?.unref && typeof handle === "object") handle.unref();
    return { cancel: () => clearTimeout(handle) };
  },
  sleep(ms, options) {
    return sleepOn(systemClock, ms, options);
  },
};

const scheduleLong = (ms: number, callback: () => void, options?: { readonly unref?: boolean }): Timer => {
  let timer = systemClock.schedule(
    TIMER_MAX_MS,
    () => {
      timer = systemClock.schedule(ms - TIMER_MAX_MS, callback, options);
    },
    options,
  );
  return { cancel: () => timer.cancel() };
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
