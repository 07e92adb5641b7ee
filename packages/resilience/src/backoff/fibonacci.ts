import { checkDurationMs, checkNumber } from "../option-checks.ts";
import type { Backoff } from "./backoff.ts";
import { type Jitter, jitterFunction } from "./jitter.ts";

export interface FibonacciBackoffOptions {
  /** The unit of the sequence, above 0. Default 1_000. */
  readonly baseMs?: number;
  /** The nominal pause never exceeds this; at least `baseMs`. Default 60_000. */
  readonly capMs?: number;
  /** Default `none`. */
  readonly jitter?: Jitter;
}

/** Pauses of base × 1, 1, 2, 3, 5, 8, … up to the cap, then jitter. Grows by about 1.6, gentler than doubling. */
export const fibonacciBackoff = (options: FibonacciBackoffOptions = {}): Backoff => {
  const baseMs = checkDurationMs("backoff.baseMs", options.baseMs ?? 1_000);
  const capMs = checkNumber("backoff.capMs", options.capMs ?? Math.max(60_000, baseMs), { min: baseMs });
  const jitter = jitterFunction("backoff.jitter", options.jitter ?? "none");
  const nominalMs = (failedAttempt: number): number => {
    let current = 1;
    let next = 1;
    // Ends at the cap, so a large attempt number costs no more than the steps up to it.
    for (let step = 1; step < failedAttempt && current * baseMs < capMs; step += 1) {
      [current, next] = [next, current + next];
    }
    return Math.min(current * baseMs, capMs);
  };
  return {
    delayMs: (failedAttempt, _previousDelayMs, random) => jitter(nominalMs(failedAttempt), capMs, random),
  };
};
