import { checkNumber } from "../option-checks.ts";
import type { Backoff } from "./backoff.ts";
import { type Jitter, jitterFunction } from "./jitter.ts";

/** The same pause after every failure. `delayMs` 0 means at once. Jitter default `none`. */
export const fixedBackoff = (options: { readonly delayMs: number; readonly jitter?: Jitter }): Backoff => {
  const delayMs = checkNumber("backoff.delayMs", options.delayMs, { min: 0 });
  const jitter = jitterFunction("backoff.jitter", options.jitter ?? "none");
  return { delayMs: (_failedAttempt, _previousDelayMs, random) => jitter(delayMs, delayMs, random) };
};

/** No pause at all, for fallbacks and for tests. */
export const noBackoff: Backoff = { delayMs: () => 0 };
