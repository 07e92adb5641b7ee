import type { Clock } from "@holdfast/kernel";
import { checkTimeLimit } from "./time-limit.ts";

/** Milliseconds that are left of what a call may take, at least 1; undefined where it may take any time. */
export type TimeLeft = () => number | undefined;

const ANY_TIME: TimeLeft = () => undefined;

/**
 * Begins to count now. For a call that is made of several, each of which takes a limit of its own.
 * @throws InvalidInputError naming `timeoutMs` when it is no limit.
 */
export const timeLeft = (clock: Clock, timeoutMs: number | undefined): TimeLeft => {
  if (timeoutMs === undefined) return ANY_TIME;
  checkTimeLimit("timeoutMs", timeoutMs);
  const endsAt = clock.monotonicNow() + timeoutMs;
  return () => Math.max(1, Math.ceil(endsAt - clock.monotonicNow()));
};
