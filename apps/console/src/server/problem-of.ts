import { isHoldfastError } from "@holdfast/kernel";

/** What a page may be told of an error. Our own errors hold no secret; what others say may. */
export const problemOf = (error: unknown): string => {
  if (isHoldfastError(error)) return error.message;
  const { code } = (error ?? {}) as NodeJS.ErrnoException;
  return typeof code === "string" ? `an unexpected failure (${code})` : "an unexpected failure";
};
