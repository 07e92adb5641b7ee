import { InvalidInputError } from "@holdfast/kernel";

/** A finite number within [min, max], or {@link InvalidInputError} naming the field. */
export const checkNumber = (
  field: string,
  value: number,
  range: { readonly min?: number; readonly max?: number; readonly above?: number } = {},
): number => {
  const { min = Number.NEGATIVE_INFINITY, max = Number.POSITIVE_INFINITY, above } = range;
  if (
    typeof value !== "number" ||
    !Number.isFinite(value) ||
    value < min ||
    value > max ||
    (above !== undefined && value <= above)
  ) {
    throw new InvalidInputError(field, value, `a finite number${describeRange(range)}`);
  }
  return value;
};

/** A whole number within [min, max], or {@link InvalidInputError} naming the field. */
export const checkCount = (
  field: string,
  value: number,
  range: { readonly min?: number; readonly max?: number } = {},
): number => {
  const { min = 0, max = Number.MAX_SAFE_INTEGER } = range;
  if (!Number.isSafeInteger(value) || value < min || value > max) {
    throw new InvalidInputError(field, value, `a whole number${describeRange({ ...range, min })}`);
  }
  return value;
};

/** A duration in milliseconds above zero, fractions allowed. */
export const checkDurationMs = (field: string, value: number): number =>
  checkNumber(field, value, { above: 0 });

/** One of the listed words. */
export const checkOneOf = <T extends string>(field: string, value: T, allowed: readonly T[]): T => {
  if (!allowed.includes(value)) throw new InvalidInputError(field, value, `one of ${allowed.join(", ")}`);
  return value;
};

/** A function. */
export const checkFunction = <T>(field: string, value: T): T => {
  if (typeof value !== "function") throw new InvalidInputError(field, value, "a function");
  return value;
};

const describeRange = (range: { min?: number; max?: number; above?: number }): string => {
  const parts: string[] = [];
  if (range.above !== undefined) parts.push(`above ${range.above}`);
  if (range.min !== undefined && Number.isFinite(range.min)) parts.push(`at least ${range.min}`);
  if (range.max !== undefined && range.max !== Number.MAX_SAFE_INTEGER) parts.push(`at most ${range.max}`);
  return parts.length === 0 ? "" : ` ${parts.join(" and ")}`;
};
