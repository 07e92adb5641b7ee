/** What a closed breaker remembers of the calls behind it, and when that is too much. */
export interface OutcomeWindow {
  /** An instant this much too old is still good enough for `record`; Infinity when the window does not look at it. */
  readonly resolutionMs: number;
  /** Takes in one outcome and says whether the breaker must open. */
  record(outcome: { readonly isFailure: boolean; readonly isSlow: boolean }, now: number): boolean;
  /** Forgets everything. */
  reset(now: number): void;
}

/** When a share of the calls in a window is too much. */
export interface RatioLimits {
  /** No judgement before this many calls are in the window. */
  readonly callMinCount: number;
  readonly failureRatio: number;
  /** Above 1 switches the judgement of slow calls off. */
  readonly slowRatio: number;
}

export const exceedsRatio = (
  limits: RatioLimits,
  callCount: number,
  failureCount: number,
  slowCount: number,
): boolean =>
  callCount >= limits.callMinCount &&
  (failureCount >= limits.failureRatio * callCount || slowCount >= limits.slowRatio * callCount);
