import { InvalidInputError } from "@holdfast/kernel";

/** Timers take no more than 2^31 - 1 milliseconds. */
const LIMIT_MAX_MS = 2 ** 31 - 1;

/** @throws InvalidInputError naming `field` unless `value` is left out or from 1 to 2^31 - 1. */
export const checkTimeLimit = (field: string, value: number | undefined): void => {
  if (value === undefined || (value >= 1 && value <= LIMIT_MAX_MS)) return;
  throw new InvalidInputError(field, value, `a number of milliseconds from 1 to ${LIMIT_MAX_MS}`);
};

/** The limits of one transaction. @throws InvalidInputError naming the one that cannot be. */
export const checkTransactionLimits = (options: {
  readonly acquireTimeoutMs?: number | undefined;
  readonly commitTimeoutMs?: number | undefined;
}): void => {
  checkTimeLimit("acquireTimeoutMs", options.acquireTimeoutMs);
  checkTimeLimit("commitTimeoutMs", options.commitTimeoutMs);
};
