import { createHash } from "node:crypto";

/** Common file systems take 255 bytes; what is appended (`_workflow_results.json`, a number, a temporary ending) needs the rest. */
const NAME_MAX_BYTES = 180;
const HASH_CHARACTERS = 8;

/** Path separators, characters that Windows refuses, and control characters. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: these are exactly the characters to replace
const UNSAFE = /[/\\<>:"|?*\u0000-\u001f\u007f]/g;

/**
 * A workflow's name as the beginning of a file name: lower case, no separators, at most 180 bytes. Unicode
 * stays as it is. A name that is cut gets a hash of the whole, so that two long names stay apart.
 */
export const reportName = (workflowName: string): string => {
  const safe = workflowName
    .toLowerCase()
    .replace(UNSAFE, "_")
    .replace(/^\.+/, (dots) => "_".repeat(dots.length));
  if (Buffer.byteLength(safe) <= NAME_MAX_BYTES) return safe === "" ? "_" : safe;
  const hash = createHash("sha256").update(workflowName).digest("hex").slice(0, HASH_CHARACTERS);
  return `${cut(safe, NAME_MAX_BYTES - HASH_CHARACTERS - 1)}-${hash}`;
};

/** The longest beginning that fits, without breaking a character. */
const cut = (text: string, maxBytes: number): string => {
  let bytes = 0;
  let end = 0;
  for (const character of text) {
    bytes += Buffer.byteLength(character);
    if (bytes > maxBytes) break;
    end += character.length;
  }
  return text.slice(0, end);
};
