import type { Random } from "@holdfast/kernel";

/**
 * How long to pause before the next attempt. A backoff holds no state of its own: what a strategy needs to
 * remember comes in with each question, so one object serves any number of concurrent runs.
 */
export interface Backoff {
  /**
   * Milliseconds to pause, never negative and always finite.
   * @param failedAttempt The attempt that just failed, counted from 1.
   * @param previousDelayMs The pause before that attempt; undefined when it was the first.
   */
  delayMs(failedAttempt: number, previousDelayMs: number | undefined, random: Random): number;
}
