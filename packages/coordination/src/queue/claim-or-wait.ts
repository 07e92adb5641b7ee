import { type Abortable, type Clock, deferred } from "@holdfast/kernel";
import { checkNumber } from "../input-checks.ts";
import type { ClaimedTask, TaskQueue } from "./task-queue.ts";

export interface ClaimOrWaitOptions extends Abortable {
  readonly worker: string;
  readonly maxCount: number;
  readonly leaseMs: number;
  readonly types?: readonly string[];
  /** Longest wait for a task, milliseconds, 0 to 2^31 - 1; then the answer is empty. */
  readonly waitMs: number;
  /** How often to look without being woken, milliseconds, 1 to 2^31 - 1. Default 1000. */
  readonly pollMs?: number;
  readonly clock: Clock;
  /** Called when it begins to wait because nothing is due. */
  readonly onEmpty?: () => void;
}

/**
 * A due task may be of a type that was not asked for, or held back by the limit of its key; then looking again at once
 * would only spin. Each look in vain doubles the pause before the next, until somebody wakes.
 */
const LOOK_AGAIN_MIN_MS = 20;
const LOOK_AGAIN_MAX_MS = 320;

const WAIT_MAX_MS = 2 ** 31 - 1;

/** Tasks and the instant from which their lease counts. */
export interface TimedClaims {
  readonly tasks: readonly ClaimedTask[];
  /** `clock.monotonicNow()` from before they were asked for: what ClaimKeeper wants to know. */
  readonly askedAt: number;
}

/**
 * Claims what is due; when nothing is, waits until something may be: for a wake-up, for the next due time or
 * lapse, and at most for the poll interval. Returns the first claims, or none when `waitMs` is over.
 * @throws InvalidInputError for a wait or a pause out of range: it would ask the store again at once, for ever.
 * @throws StoreUnavailableError at once when the store does not answer: that is not "empty".
 * @throws signal.reason when aborted; what was claimed at that very moment lapses.
 */
export const claimOrWait = async (
  queue: TaskQueue<never>,
  options: ClaimOrWaitOptions,
): Promise<TimedClaims> => {
  const { worker, maxCount, leaseMs, types, waitMs, pollMs = 1000, clock, signal } = options;
  checkNumber("waitMs", waitMs, 0, WAIT_MAX_MS);
  checkNumber("pollMs", pollMs, 1, WAIT_MAX_MS);
  const endsAt = clock.monotonicNow() + waitMs;
  let wakeCount = 0;
  let onWake: (() => void) | undefined;
  let lookAgainMs = LOOK_AGAIN_MIN_MS;
  const unsubscribe = queue.onAvailable(() => {
    wakeCount += 1;
    lookAgainMs = LOOK_AGAIN_MIN_MS;
    onWake?.();
  });
  try {
    for (;;) {
      const seen = wakeCount;
      const askedAt = clock.monotonicNow();
      const tasks = await queue.claim({
        worker,
        maxCount,
        leaseMs,
        signal,
        ...(types === undefined ? {} : { types }),
      });
      const leftMs = endsAt - clock.monotonicNow();
      if (tasks.length > 0 || leftMs <= 0) return { tasks, askedAt };
      const dueInMs = (await queue.nextDueInMs({ signal })) ?? pollMs;
      signal?.throwIfAborted();
      if (wakeCount !== seen) continue;
      options.onEmpty?.();
      const woken = deferred<void>();
      onWake = () => woken.resolve();
      const onAbort = (): void => woken.reject(signal?.reason);
      const pauseMs = Math.min(leftMs, pollMs, Math.max(lookAgainMs, dueInMs));
      lookAgainMs = dueInMs > 0 ? LOOK_AGAIN_MIN_MS : Math.min(2 * lookAgainMs, LOOK_AGAIN_MAX_MS);
      const timer = clock.schedule(pauseMs, () => woken.resolve());
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
