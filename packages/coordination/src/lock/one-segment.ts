import { InvalidInputError } from "@holdfast/kernel";
import { checkText } from "../input-checks.ts";

/**
 * A name without slashes, so that what lies below one name is never taken for what lies below another.
 * @throws InvalidInputError for a name of more than 400 characters, or of more than `maxLength` as it is written: with
 *   what comes before and after it, it would be longer than the name of a lease may be.
 */
export const oneSegment = (name: string, maxLength: number): string => {
  checkText("name", name, 400);
  const segment = name.replaceAll("%", "%25").replaceAll("/", "%2F");
  if (segment.length > maxLength) {
    const limit = `a text of at most ${maxLength} characters, each "/" and "%" counted as three`;
    throw new InvalidInputError("name", name, limit);
  }
  return segment;
};
