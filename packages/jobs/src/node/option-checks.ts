import { InvalidInputError } from "@holdfast/kernel";

/** How long finished jobs are kept. What is over either limit goes, oldest first, with its log and tasks. */
export interface RetentionOptions {
  /** Default 7 days. */
  readonly keepMs?: number;
  /** Default 10_000. */
  readonly keepMaxCount?: number;
  /** How often it is looked after. Default 60_000. */
  readonly sweepEveryMs?: number;
}

/** With defaults filled in. @throws InvalidInputError naming the option. */
export const retentionSettings = (options: RetentionOptions | undefined): Required<RetentionOptions> => {
  const retention = { keepMs: 7 * 86_400_000, keepMaxCount: 10_000, sweepEveryMs: 60_000, ...options };
  checkRange("retention.keepMs", retention.keepMs, 0, Number.MAX_SAFE_INTEGER);
  checkRange("retention.keepMaxCount", retention.keepMaxCount, 0, Number.MAX_SAFE_INTEGER);
  checkRange("retention.sweepEveryMs", retention.sweepEveryMs, 10, 86_400_000);
  return retention;
};

/** Names of nodes and datacenters: they stand in lease names beside other parts. @throws InvalidInputError */
export const checkName = (field: string, value: string): void => {
  if (typeof value !== "string" || value.length < 1 || value.length > 200 || /[\0\n#]/.test(value)) {
    throw new InvalidInputError(field, value, "1 to 200 characters without '#' and line breaks");
  }
};

/** @throws InvalidInputError unless `value` is a number from `min` to `max`. */
export const checkRange = (field: string, value: number, min: number, max: number): void => {
  if (!(value >= min && value <= max)) {
    throw new InvalidInputError(field, value, `a number from ${min} to ${max}`);
  }
};
