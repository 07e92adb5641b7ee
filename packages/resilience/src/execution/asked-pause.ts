import { isHoldfastError } from "@holdfast/kernel";

/**
 * The pause that whoever refused asks for, in milliseconds. Undefined where it asks for none, or for what is no time:
 * waiting for NaN would be no waiting at all.
 */
export const askedPauseMs = (error: unknown): number | undefined => {
  const pauseMs = isHoldfastError(error) ? error.retryAfterMs : undefined;
  return pauseMs !== undefined && pauseMs >= 0 ? pauseMs : undefined;
};
