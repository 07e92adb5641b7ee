import { createHash } from "node:crypto";
import { InvalidInputError } from "@holdfast/kernel";

/**
 * What a key may be made of. Parts that differ in type or value give different keys: 1 and "1", -0 and 0, a vector
 * and one that differs in the last bit. The order of an object's properties does not matter.
 */
export type CacheKeyPart =
  | string
  | number
  | bigint
  | boolean
  | null
  | undefined
  | Date
  | ArrayBufferView
  | readonly CacheKeyPart[]
  | { readonly [name: string]: CacheKeyPart };

/** A text, or parts such as `["user", 7]`. */
export type CacheKey = string | readonly CacheKeyPart[];

/** Longer names go through SHA-256. */
export const NAME_MAX_LENGTH = 200;
/** Begins every key that was made of parts, so that no text is one of them. */
const MADE = "\u0001";
/** As PostgreSQL's text has it, where the outbox keeps keys. */
const refuseNul = (text: string): string => {
  if (text.includes("\0")) throw new InvalidInputError("key", text, "free of NUL characters");
  return text;
};

/** Half of a pair. UTF-8, which Redis and hashes take names in, has one replacement for all of them. */
const LONE_SURROGATE = /[\ud800-\udfff]/u;

/** The one text of a key. Texts stand for themselves; everything else is unambiguous, whatever it contains. */
export const keyName = (key: CacheKey): string => {
  if (typeof key === "string") {
    const isShort = key.length > 0 && key.length <= NAME_MAX_LENGTH;
    if (isShort && key.charCodeAt(0) > 1 && !key.includes("\0") && !LONE_SURROGATE.test(key)) return key;
    if (key.length === 0)
      throw new InvalidInputError("key", key, "a text that is not empty, or a list of parts");
    refuseNul(key);
    // No part begins so: a text is not the list of it.
    return shorten(`${MADE}t${partName(key)}`);
  }
  if (!Array.isArray(key) || key.length === 0) {
    throw new InvalidInputError("key", key, "a text that is not empty, or a list of parts");
  }
  return shorten(MADE + key.map(partName).join(""));
};

const shorten = (name: string): string =>
  name.length <= NAME_MAX_LENGTH
    ? name
    : `${name.slice(0, 60)}#${createHash("sha256").update(name).digest("base64url")}`;

/** Each part says its type and ends where it says, so no part can look like another or run into the next. */
const partName = (part: CacheKeyPart): string => {
  switch (typeof part) {
    case "string":
      return LONE_SURROGATE.test(part)
        ? `w${part.length}:${Buffer.from(refuseNul(part), "utf16le").toString("base64url")}`
        : `s${part.length}:${refuseNul(part)}`;
    case "number":
      return `n${Object.is(part, -0) ? "-0" : part};`;
    case "bigint":
      return `i${part};`;
    case "boolean":
      return part ? "T" : "F";
    case "undefined":
      return "U";
    case "object":
      return objectName(part);
    default:
      throw new InvalidInputError(
        "key",
        part,
        "made of texts, numbers, dates, bytes, lists and plain objects",
      );
  }
};

const objectName = (part: Exclude<CacheKeyPart, string | number | bigint | boolean | undefined>): string => {
  if (part === null) return "N";
  if (part instanceof Date) return `d${part.getTime()};`;
  if (ArrayBuffer.isView(part)) {
    const bytes = new Uint8Array(part.buffer, part.byteOffset, part.byteLength);
    const digest = createHash("sha256").update(bytes).digest("base64url");
    return `b${part.constructor.name}${part.byteLength}:${digest}`;
  }
  if (Array.isArray(part)) return `[${part.map(partName).join("")}]`;
  const prototype: unknown = Object.getPrototypeOf(part);
  if (prototype !== Object.prototype && prototype !== null) {
    throw new InvalidInputError("key", part, "made of texts, numbers, dates, bytes, lists and plain objects");
  }
  const properties = part as { readonly [name: string]: CacheKeyPart };
  const names = Object.keys(properties).sort();
  return `{${names.map((name) => partName(name) + partName(properties[name])).join("")}}`;
};
