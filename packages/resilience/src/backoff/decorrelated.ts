import { checkDurationMs, checkNumber } from "../option-checks.ts";
import type { Backoff } from "./backoff.ts";

export interface DecorrelatedBackoffOptions {
  /** The shortest pause, above 0. Default 1_000. */
  readonly baseMs?: number;
  /** The longest pause; at least `baseMs`. Default 60_000. */
  readonly capMs?: number;
}

/**
 * Decorrelated jitter: min(cap, uniform(base, 3 × previous)), where the previous pause starts at base.
 * From the AWS Architecture Blog, "Exponential Backoff And Jitter". The previous pause comes from the run
 * that asks, so concurrent runs never share it.
 */
export const decorrelatedBackoff = (options: DecorrelatedBackoffOptions = {}): Backoff => {
  const baseMs = checkDurationMs("backoff.baseMs", options.baseMs ?? 1_000);
  const capMs = checkNumber("backoff.capMs", options.capMs ?? Math.max(60_000, baseMs), { min: baseMs });
  return {
    delayMs: (_failedAttempt, previousDelayMs, random) => {
      const previous = Math.max(previousDelayMs ?? baseMs, baseMs);
      return Math.min(capMs, baseMs + random.next() * (3 * previous - baseMs));
    },
  };
};
