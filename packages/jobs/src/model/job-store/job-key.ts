import { createHash } from "node:crypto";

/** Longer keys are hashed: an index entry of PostgreSQL holds some 2700 bytes, and ids may have 10,000 characters. */
const PLAIN_MAX_LENGTH = 200;

/** The id as the table indexes it. NUL, which PostgreSQL does not store, is hashed away too. */
export const jobKey = (id: string): string =>
  id.length <= PLAIN_MAX_LENGTH && !/[\0#\uD800-\uDFFF]/.test(id)
    ? id
    : `#${createHash("sha256").update(id, "utf16le").digest("hex")}`;
