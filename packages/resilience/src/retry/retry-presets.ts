import type { Backoff } from "../backoff/backoff.ts";
import { exponentialBackoff } from "../backoff/exponential.ts";
import { noBackoff } from "../backoff/fixed.ts";

/** The part of the retry options that a preset decides. Spread it into the options of a {@link Retry}. */
export interface RetryPreset {
  readonly maxAttempts: number;
  readonly backoff: Backoff;
}

export type RetryPresetName = "none" | "standard" | "aggressive" | "conservative";

const preset = (maxRetries: number, baseMs: number, capMs: number, factor: number): RetryPreset => ({
  maxAttempts: maxRetries + 1,
  // Jitter only ever adds, up to a fifth: callers count on the nominal pauses as least pauses.
  backoff: exponentialBackoff({ baseMs, capMs, factor, jitter: { addShareMax: 0.2 } }),
});

/**
 * Retry settings for links to database nodes.
 * - `none`: one attempt.
 * - `standard`: 3 retries, 100 ms doubling up to 5 s.
 * - `aggressive`: 5 retries, 50 ms growing by 1.5 up to 2 s.
 * - `conservative`: 2 retries, 200 ms tripling up to 10 s.
 *
 * Pauses are never shorter than these and at most 20 % longer.
 */
export const retryPresets: Readonly<Record<RetryPresetName, RetryPreset>> = {
  none: { maxAttempts: 1, backoff: noBackoff },
  standard: preset(3, 100, 5_000, 2),
  aggressive: preset(5, 50, 2_000, 1.5),
  conservative: preset(2, 200, 10_000, 3),
};
