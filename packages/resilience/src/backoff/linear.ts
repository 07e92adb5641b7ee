import { checkNumber } from "../option-checks.ts";
import type { Backoff } from "./backoff.ts";
import { type Jitter, jitterFunction } from "./jitter.ts";

export interface LinearBackoffOptions {
  /** The nominal pause after the first failure. Default 1_000. */
  readonly baseMs?: number;
  /** Added with each further failure. Default 1_000. */
  readonly stepMs?: number;
  /** The nominal pause never exceeds this; at least `baseMs`. Default 60_000. */
  readonly capMs?: number;
  /** Default `none`. */
  readonly jitter?: Jitter;
}

/** Pauses of min(base + step × (n-1), cap) after failure number n, then jitter. */
export const linearBackoff = (options: LinearBackoffOptions = {}): Backoff => {
  const baseMs = checkNumber("backoff.baseMs", options.baseMs ?? 1_000, { min: 0 });
  const stepMs = checkNumber("backoff.stepMs", options.stepMs ?? 1_000, { min: 0 });
  const capMs = checkNumber("backoff.capMs", options.capMs ?? Math.max(60_000, baseMs), { min: baseMs });
  const jitter = jitterFunction("backoff.jitter", options.jitter ?? "none");
  return {
    delayMs: (failedAttempt, _previousDelayMs, random) =>
      jitter(Math.min(baseMs + stepMs * (failedAttempt - 1), capMs), capMs, random),
  };
};
