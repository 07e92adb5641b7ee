import { InvalidInputError } from "@holdfast/kernel";

/** A whole number of at least `least`. @throws InvalidInputError naming the field. */
export const checkCount = (field: string, value: number, least: number): number => {
  if (!Number.isSafeInteger(value) || value < least) {
    throw new InvalidInputError(field, value, `a whole number of at least ${least}`);
  }
  return value;
};

/** A finite number of milliseconds of at least `least`. @throws InvalidInputError naming the field. */
export const checkMs = (field: string, value: number, least: number): number => {
  if (!Number.isFinite(value) || value < least) {
    throw new InvalidInputError(field, value, `a finite number of at least ${least}`);
  }
  return value;
};
