import { InvalidInputError } from "@holdfast/kernel";
import { checkInteger, checkNumber } from "../input-checks.ts";
import type { Limits, QueueLimits } from "./task-queue.ts";

/** Waiting tasks that one claim of a limited queue passes over because their key is full, at most. */
export const PASSED_OVER_MAX_COUNT = 10_000;

/** The limits that say something; undefined when none does. @throws InvalidInputError */
export const checkLimits = (limits: QueueLimits | undefined): QueueLimits | undefined => {
  if (limits === undefined) return undefined;
  if (typeof limits !== "object" || limits === null)
    throw new InvalidInputError("limits", limits, "an object");
  checkScope("limits", limits);
  if (limits.perKey !== undefined) checkScope("limits.perKey", limits.perKey);
  const { concurrency, rate, perKey } = limits;
  const isEmpty = (scope: Limits | undefined): boolean =>
    scope?.concurrency === undefined && scope?.rate === undefined;
  if (isEmpty(limits) && isEmpty(perKey)) return undefined;
  return {
    ...(concurrency === undefined ? {} : { concurrency }),
    ...(rate === undefined ? {} : { rate: { count: rate.count, perMs: rate.perMs } }),
    ...(isEmpty(perKey) ? {} : { perKey }),
  };
};

const checkScope = (field: string, { concurrency, rate }: Limits): void => {
  if (concurrency !== undefined) checkInteger(`${field}.concurrency`, concurrency, 1, 100_000);
  if (rate === undefined) return;
  checkInteger(`${field}.rate.count`, rate.count, 1, 1_000_000);
  checkNumber(`${field}.rate.perMs`, rate.perMs, 1, 86_400_000);
};
