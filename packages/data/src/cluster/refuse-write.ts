import { InvalidInputError } from "@holdfast/kernel";

/**
 * A statement that may be answered by the primary where no replica can must not be one that writes there.
 * @throws InvalidInputError unless it begins like a read.
 */
export const refuseWrite = (text: string): void => {
  if (/^\s*(select|values|table|show|with|explain)\b/i.test(text)) return;
  const start = text.trim().slice(0, 40);
  throw new InvalidInputError(
    "text",
    start,
    "a statement that reads: SELECT, WITH, VALUES, TABLE, SHOW or EXPLAIN",
  );
};
