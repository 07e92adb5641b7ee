import { checkPlainJson, InvalidInputError } from "@holdfast/kernel";
import { PayloadTooLargeError } from "./errors.ts";
import type { Json } from "./json.ts";

export const PAYLOAD_MAX_BYTES_DEFAULT = 1_048_576;
/** Most items of one call. A call is one statement; larger ones would hold locks for seconds. */
export const BATCH_MAX_COUNT = 100_000;

const LONE_SURROGATE = /\p{Surrogate}/u;
/** Nearly every name is of these characters only, and then there is nothing else to look for. */
const isPlain = (text: string): boolean => {
  for (let index = 0; index < text.length; index += 1) {
    const unit = text.charCodeAt(index);
    if (unit < 0x20 || unit > 0x7e) return false;
  }
  return true;
};

/**
 * A name as every backend can keep it: `minLength` to `maxLength` characters, no NUL, no broken surrogate pair.
 * @throws InvalidInputError otherwise.
 */
export const checkText = (field: string, value: string, maxLength: number): void => {
  if (typeof value !== "string" || value.length < 1 || value.length > maxLength) {
    throw new InvalidInputError(field, value, `a text of 1 to ${maxLength} characters`);
  }
  if (isPlain(value)) return;
  if (value.includes("\0") || LONE_SURROGATE.test(value)) {
    throw new InvalidInputError(field, value, "well-formed text without NUL characters");
  }
};

/** @throws InvalidInputError unless `value` is a whole number from `min` to `max`. */
export const checkInteger = (field: string, value: number, min: number, max: number): void => {
  if (!Number.isInteger(value) || value < min || value > max) {
    throw new InvalidInputError(field, value, `a whole number from ${min} to ${max}`);
  }
};

/** @throws InvalidInputError unless `value` is a finite number from `min` to `max`. */
export const checkNumber = (field: string, value: number, min: number, max: number): void => {
  if (typeof value !== "number" || !(value >= min && value <= max)) {
    throw new InvalidInputError(field, value, `a number from ${min} to ${max}`);
  }
};

/** @throws InvalidInputError when a call carries more items than one statement should. */
export const checkBatch = (field: string, items: readonly unknown[]): void => {
  if (items.length > BATCH_MAX_COUNT) {
    throw new InvalidInputError(`${field}.length`, items.length, `at most ${BATCH_MAX_COUNT}`);
  }
};

const SCHEMA_NAME = /^[a-z_][a-z0-9_]{0,47}$/;
const QUEUE_NAME = /^[A-Za-z0-9_.:-]{1,128}$/;

/** @throws InvalidInputError for a name that would need escaping in a channel or be cut by the server. */
export const checkSchemaName = (schema: string): void => {
  if (!SCHEMA_NAME.test(schema)) {
    throw new InvalidInputError(
      "schema",
      schema,
      "1 to 48 characters of [a-z0-9_], not starting with a digit",
    );
  }
};

/** @throws InvalidInputError */
export const checkQueueName = (name: string): void => {
  if (!QUEUE_NAME.test(name)) {
    throw new InvalidInputError("queue", name, "1 to 128 characters of [A-Za-z0-9_.:-]");
  }
};

/**
 * The JSON text of a value, from which the same value can be read.
 * @param what What the value is called: an error names the path from there.
 * @throws InvalidInputError when something of it would be lost; see {@link checkPlainJson}.
 * @throws PayloadTooLargeError above `limitBytes` of UTF-8.
 */
export const encodeJson = (what: string, value: Json, limitBytes: number): string => {
  checkPlainJson(what, value);
  let text: string;
  try {
    text = JSON.stringify(value);
  } catch (cause) {
    // It takes more of the stack than looking does.
    throw new InvalidInputError(what, value, "nested less deeply", { cause });
  }
  // A UTF-16 unit takes at most three bytes, so most texts need no counting.
  if (text.length * 3 > limitBytes) {
    const sizeBytes = Buffer.byteLength(text);
    if (sizeBytes > limitBytes) throw new PayloadTooLargeError(what, sizeBytes, limitBytes);
  }
  return text;
};

/** Order of names as PostgreSQL's "C" collation has it: by code point, which differs from `<` on UTF-16 units. */
export const compareByCodePoint = (a: string, b: string): number => {
  const length = Math.min(a.length, b.length);
  for (let index = 0; index < length; index += 1) {
    const left = a.charCodeAt(index);
    const right = b.charCodeAt(index);
    if (left === right) continue;
    const leftIsSurrogate = left >= 0xd800 && left <= 0xdfff;
    const rightIsSurrogate = right >= 0xd800 && right <= 0xdfff;
    if (leftIsSurrogate !== rightIsSurrogate) return leftIsSurrogate ? 1 : -1;
    return left - right;
  }
  return a.length - b.length;
};
