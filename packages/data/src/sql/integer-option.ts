import { InvalidInputError } from "@holdfast/kernel";

/** @throws InvalidInputError naming `field` unless `value` is an integer in the range. */
export const integerOption = (field: string, value: number, min: number, max: number): number => {
  if (Number.isInteger(value) && value >= min && value <= max) return value;
  throw new InvalidInputError(field, value, `an integer from ${min} to ${max}`);
};
