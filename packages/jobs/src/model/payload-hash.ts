import { createHash } from "node:crypto";

/**
 * JSON with the keys of every object sorted, so that equal values give equal texts. What JSON leaves out
 * (undefined, functions) is left out here too, and what has a `toJSON`, as dates have, counts as what that returns.
 */
export const canonicalJson = (value: unknown): string => textOf(value) ?? "null";

/** Undefined for what JSON leaves out. */
const textOf = (value: unknown): string | undefined => {
  if (typeof value !== "object" || value === null) return JSON.stringify(value);
  const { toJSON } = value as { readonly toJSON?: unknown };
  if (typeof toJSON === "function") return textOf(toJSON.call(value, ""));
  if (Array.isArray(value)) return `[${value.map((item) => textOf(item) ?? "null").join(",")}]`;
  const record = value as Record<string, unknown>;
  let text = "";
  for (const key of sortedKeys(record)) {
    const inner = textOf(record[key]);
    if (inner !== undefined) text += `${text === "" ? "" : ","}${JSON.stringify(key)}:${inner}`;
  }
  return `{${text}}`;
};

/** Sorted as texts, but whole numbers first and by size, as an object keeps them: stored hashes were made so. */
const sortedKeys = (record: object): readonly string[] => {
  const keys = Object.keys(record);
  const textsFrom = keys.findIndex((key) => !isIndex(key));
  if (textsFrom <= 0) return textsFrom < 0 ? keys : keys.sort();
  return [...keys.slice(0, textsFrom), ...keys.slice(textsFrom).sort()];
};

const INDEX_MAX = 2 ** 32 - 2;
const isIndex = (key: string): boolean => {
  const number = Number(key);
  return Number.isInteger(number) && number >= 0 && number <= INDEX_MAX && String(number) === key;
};

/** Names a payload in a cache: the canonical JSON where that is short, else its hash. */
export const payloadName = (payload: unknown): string => {
  const text = canonicalJson(payload);
  return text.length <= PLAIN_MAX_LENGTH ? text : sha256(text);
};

/** SHA-256 of the canonical JSON, hexadecimal: tells whether two submissions under one key ask for the same. */
export const payloadHash = (payload: unknown): string => sha256(canonicalJson(payload));

/** Hashing a text of this length takes longer than comparing it. */
const PLAIN_MAX_LENGTH = 512;

const sha256 = (text: string): string => createHash("sha256").update(text).digest("hex");
