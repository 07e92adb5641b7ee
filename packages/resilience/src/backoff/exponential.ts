import { checkDurationMs, checkNumber } from "../option-checks.ts";
import type { Backoff } from "./backoff.ts";
import { type Jitter, jitterFunction } from "./jitter.ts";

export interface ExponentialBackoffOptions {
  /** The nominal pause after the first failure, above 0. Default 1_000. */
  readonly baseMs?: number;
  /** The nominal pause grows by this factor with each failure, at least 1. Default 2. */
  readonly factor?: number;
  /** The nominal pause never exceeds this; at least `baseMs`. Default 60_000. */
  readonly capMs?: number;
  /** Default `full`. */
  readonly jitter?: Jitter;
}

/** Pauses of min(base × factor^(n-1), cap) after failure number n, then jitter. */
export const exponentialBackoff = (options: ExponentialBackoffOptions = {}): Backoff => {
  const baseMs = checkDurationMs("backoff.baseMs", options.baseMs ?? 1_000);
  const factor = checkNumber("backoff.factor", options.factor ?? 2, { min: 1 });
  const capMs = checkNumber("backoff.capMs", options.capMs ?? Math.max(60_000, baseMs), { min: baseMs });
  const jitter = jitterFunction("backoff.jitter", options.jitter ?? "full");
  return {
    delayMs: (failedAttempt, _previousDelayMs, random) =>
      jitter(Math.min(baseMs * factor ** (failedAttempt - 1), capMs), capMs, random),
  };
};
