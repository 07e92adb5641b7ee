import { InvalidInputError } from "@holdfast/kernel";
import { blankLiterals } from "../sql/blank-literals.ts";

/** What begins a read; the first group is there where no part of it can write but INTO. */
const READ = /^\s*(?:(select|values|table|show)|with|explain)\b/i;
const INTO = /\binto\b/i;
const WRITE = /\binto\b|\bdelete\s+from\b|\bupdate\b[\s\S]*\bset\b/i;

/** Judged by the words alone: what a function does that the statement calls is not known. */
const writes = (text: string, write: RegExp): boolean => {
  if (!write.test(text)) return false;
  let isUnsure = false;
  const bare = blankLiterals(text, () => {
    isUnsure = true;
  });
  const words = bare.replaceAll(/"(?:[^"]|"")*"|\bfor\s+(?:no\s+key\s+)?update\b/gi, " ");
  return isUnsure || write.test(words);
};

/**
 * A statement that may be answered by the primary where no replica can must not be one that writes there.
 * @throws InvalidInputError unless it begins like a read, and no part of it writes.
 */
export const refuseWrite = (text: string): void => {
  const read = READ.exec(text);
  if (read !== null && !writes(text, read[1] === undefined ? WRITE : INTO)) return;
  const start = text.trim().slice(0, 40);
  throw new InvalidInputError(
    "text",
    start,
    "a statement that reads: SELECT, WITH, VALUES, TABLE, SHOW or EXPLAIN, none of them with a part that writes",
  );
};
