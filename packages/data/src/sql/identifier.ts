import { InvalidInputError } from "@holdfast/kernel";

/** PostgreSQL cuts longer names silently, so two of them could become one. */
const IDENTIFIER_MAX_BYTES = 63;

/**
 * `name` in double quotes, safe to put into a statement.
 * @throws InvalidInputError when it is empty, longer than 63 bytes or holds a NUL.
 */
export const quoteIdentifier = (name: string, field: string): string => {
  if (name.length === 0 || Buffer.byteLength(name) > IDENTIFIER_MAX_BYTES || name.includes("\0")) {
    throw new InvalidInputError(field, name, `a name of 1 to ${IDENTIFIER_MAX_BYTES} bytes`);
  }
  return `"${name.replaceAll('"', '""')}"`;
};
