import { type Abortable, systemClock } from "@holdfast/kernel";
import { ConditionTimeoutError } from "../errors.ts";

/**
 * Asks `check` again and again, every `intervalMs` (default 50), until it gives something other than
 * `undefined` or `false`, and returns that. A check that throws counts as "not yet".
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
  const giveUpAt = systemClock.monotonicNow() + timeoutMs;
  let cause: unknown;
  for (;;) {
    options.signal?.throwIfAborted();
    try {
      const value = await check();
      if (value !== undefined && value !== false) return value;
      cause = undefined;
    } catch (error) {
      cause = error;
    }
    if (systemClock.monotonicNow() >= giveUpAt) throw new ConditionTimeoutError(what, timeoutMs, { cause });
    await systemClock.sleep(options.intervalMs ?? 50, options.signal ? { signal: options.signal } : {});
  }
};
