import { InvalidInputError } from "@holdfast/kernel";
import { checkCount, checkDurationMs, checkNumber } from "../option-checks.ts";
import { ConsecutiveWindow } from "./consecutive-window.ts";
import { CountWindow } from "./count-window.ts";
import type { OutcomeWindow, RatioLimits } from "./outcome-window.ts";
import { TimeWindow } from "./time-window.ts";

/** When a window of calls opens the breaker. */
export interface WindowTrip {
  /** No judgement before this many calls are in the window, from 1. Default 20, or the size of a smaller count window. */
  readonly callMinCount?: number;
  /** Opens at this share of failures, in (0, 1]. Default 0.5. */
  readonly failureRatio?: number;
  /** Opens at this share of slow calls, in (0, 1]. Needs `slowCallMs`. Default: slow calls do not open it. */
  readonly slowCallRatio?: number;
}

/**
 * What opens the breaker:
 * - `time`: the share of failures among the calls that ended within `windowMs` (default 30_000), kept in
 *   `bucketCount` slices (default 10);
 * - `count`: the share among the last `size` calls (default 100);
 * - `consecutive`: so many failures in a row (default 5); slow calls count as failures.
 */
export type BreakerTrip =
  | (WindowTrip & { readonly mode: "time"; readonly windowMs?: number; readonly bucketCount?: number })
  | (WindowTrip & { readonly mode: "count"; readonly size?: number })
  | { readonly mode: "consecutive"; readonly failureMaxCount?: number };

/** Checks a trip and makes the window that judges by it. */
export const createWindow = (trip: BreakerTrip, hasSlowCalls: boolean): OutcomeWindow => {
  switch (trip.mode) {
    case "consecutive":
      return new ConsecutiveWindow(
        checkCount("breaker.trip.failureMaxCount", trip.failureMaxCount ?? 5, { min: 1 }),
      );
    case "count": {
      const size = checkCount("breaker.trip.size", trip.size ?? 100, { min: 1, max: 1_000_000 });
      const limits = ratioLimits(
        { ...trip, callMinCount: trip.callMinCount ?? Math.min(20, size) },
        hasSlowCalls,
      );
      if (limits.callMinCount > size) {
        throw new InvalidInputError(
          "breaker.trip.callMinCount",
          limits.callMinCount,
          `at most the size, ${size}`,
        );
      }
      return new CountWindow(size, limits);
    }
    case "time":
      return new TimeWindow(
        checkDurationMs("breaker.trip.windowMs", trip.windowMs ?? 30_000),
        checkCount("breaker.trip.bucketCount", trip.bucketCount ?? 10, { min: 1, max: 1_000 }),
        ratioLimits(trip, hasSlowCalls),
      );
    default:
      throw new InvalidInputError(
        "breaker.trip.mode",
        (trip as { mode: unknown }).mode,
        "time, count or consecutive",
      );
  }
};

const ratioLimits = (trip: WindowTrip, hasSlowCalls: boolean): RatioLimits => {
  if (trip.slowCallRatio !== undefined && !hasSlowCalls) {
    throw new InvalidInputError("breaker.slowCallMs", undefined, "given together with trip.slowCallRatio");
  }
  return {
    callMinCount: checkCount("breaker.trip.callMinCount", trip.callMinCount ?? 20, { min: 1 }),
    failureRatio: checkNumber("breaker.trip.failureRatio", trip.failureRatio ?? 0.5, { above: 0, max: 1 }),
    slowRatio:
      trip.slowCallRatio === undefined
        ? Number.POSITIVE_INFINITY
        : checkNumber("breaker.trip.slowCallRatio", trip.slowCallRatio, { above: 0, max: 1 }),
  };
};
