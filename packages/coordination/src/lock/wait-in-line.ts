import { type Abortable, type Clock, deferred } from "@holdfast/kernel";
import { checkNumber } from "../input-checks.ts";

/** What one look gave: the thing asked for, or who has it and for how long yet. */
export type Look<T> =
  | { readonly kind: "granted"; readonly value: T }
  | { readonly kind: "busy"; readonly holder: string; readonly remainingMs: number };

export interface WaitOptions<T> extends Abortable {
  readonly clock: Clock;
  readonly waitMs: number;
  /** Looks at least so often, whatever it is told. Default 5000. */
  readonly lookEveryMs?: number | undefined;
  /** Calls back when it is worth looking again, until the returned function is called. */
  readonly subscribe: (wake: () => void) => () => void;
  readonly look: (signal: AbortSignal | undefined) => Promise<Look<T>>;
  /** The error for a wait that was in vain. */
  readonly timedOut: (holder: string) => Error;
}

/** @throws InvalidInputError unless it is 0 to 2^31 - 1: a wait without an end, or with none that can be told, asks for ever. */
export const checkWaitMs = (waitMs: number): void => checkNumber("waitMs", waitMs, 0, 2_147_483_647);

/** A notification may be lost with its connection, so one looks now and then all the same. */
const LOOK_AGAIN_MAX_MS = 5000;
const LOOK_AGAIN_MIN_MS = 5;

/**
 * Looks, and looks again when told of a release or when what is held ends by itself, until it is granted.
 * It subscribes before it looks, so no release is missed.
 * @throws the error of `timedOut` after `waitMs`; signal.reason when aborted; InvalidInputError for a wrong `waitMs`.
 */
export const waitForGrant = async <T>(options: WaitOptions<T>): Promise<T> => {
  const { clock, waitMs, look, signal, lookEveryMs = LOOK_AGAIN_MAX_MS } = options;
  checkWaitMs(waitMs);
  const endsAt = clock.monotonicNow() + waitMs;
  let wakeCount = 0;
  let onWake: (() => void) | undefined;
  const unsubscribe = options.subscribe(() => {
    wakeCount += 1;
    onWake?.();
  });
  try {
    for (;;) {
      signal?.throwIfAborted();
      const seen = wakeCount;
      const outcome = await look(signal);
      if (outcome.kind === "granted") return outcome.value;
      // Aborted while it looked: no event comes of that any more.
      signal?.throwIfAborted();
      const leftMs = endsAt - clock.monotonicNow();
      if (leftMs <= 0) throw options.timedOut(outcome.holder);
      if (wakeCount !== seen) continue;
      const pauseMs = Math.max(LOOK_AGAIN_MIN_MS, Math.min(lookEveryMs, outcome.remainingMs + 1));
      const woken = deferred<void>();
      onWake = () => woken.resolve();
      const onAbort = (): void => woken.reject(signal?.reason);
      const timer = clock.schedule(Math.min(leftMs, pauseMs), () => woken.resolve());
      signal?.addEventListener("abort", onAbort, { once: true });
      try {
        await woken.promise;
      } finally {
        onWake = undefined;
        timer.cancel();
        signal?.removeEventListener("abort", onAbort);
      }
    }
  } finally {
    unsubscribe();
  }
};
