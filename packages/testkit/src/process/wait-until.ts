import { type Abortable, systemClock, untilAborted } from "@holdfast/kernel";
import { ConditionTimeoutError } from "../errors.ts";

/**
 * Asks `check` again and again, every `intervalMs` (default 50), until it gives something other than
 * `undefined` or `false`, and returns that. A check that throws counts as "not yet", and one that hangs keeps nobody
 * beyond the limit.
 *
 * @param options.timeoutMs Default 30_000.
 * @throws ConditionTimeoutError with the last error of `check` as its cause.
 * @throws signal.reason when aborted.
 */
export const waitUntil = async <T>(
  what: string,
  check: () => T | undefined | false | Promise<T | undefined | false>,
  options: Abortable & { readonly timeoutMs?: number; readonly intervalMs?: number } = {},
): Promise<T> => {
  const timeoutMs = options.timeoutMs ?? 30_000;
  const { signal } = options;
  const giveUpAt = systemClock.monotonicNow() + timeoutMs;
  let cause: unknown;
  for (;;) {
    signal?.throwIfAborted();
    try {
      const answer = check();
      const value = answer instanceof Promise ? await withinMs(answer, giveUpAt, signal) : answer;
      if (value !== undefined && value !== false) return value;
      cause = undefined;
    } catch (error) {
      signal?.throwIfAborted();
      if (error !== LATE) cause = error;
    }
    if (systemClock.monotonicNow() >= giveUpAt) throw new ConditionTimeoutError(what, timeoutMs, { cause });
    await systemClock.sleep(options.intervalMs ?? 50, signal ? { signal } : {});
  }
};

const LATE = new Error("the time is over");

/** Keeps a timer only while there is something to wait for: a check may count the timers of its process. */
const withinMs = async <T>(
  answer: Promise<T>,
  giveUpAt: number,
  signal: AbortSignal | undefined,
): Promise<T> => {
  const late = new AbortController();
  const leftMs = Math.max(0, giveUpAt - systemClock.monotonicNow());
  const timer = systemClock.schedule(leftMs, () => late.abort(LATE));
  try {
    return await untilAborted(
      answer,
      signal === undefined ? late.signal : AbortSignal.any([signal, late.signal]),
    );
  } finally {
    timer.cancel();
  }
};
