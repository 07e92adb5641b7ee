import { deserialize, serialize } from "node:v8";
import { InvalidInputError } from "@holdfast/kernel";

/**
 * A value as it is stored and as readers get it. Every reader, whether it caused the load or hit L1 or L2, gets a
 * value of the same types: plain data (what JSON tells exactly) is deeply frozen and shared; anything else (dates,
 * bigint, vectors, maps) is a copy of one's own.
 */
export interface Encoded {
  readonly payload: string;
  /** The frozen value when it can be shared. */
  readonly shared: { readonly value: unknown } | undefined;
}

const ABSENT = "a";
const JSON_KIND = "j";
const CLONE_KIND = "v";
/** Deeper data is cloned instead: the walk below recurses. */
const DEPTH_MAX = 64;

/** @throws InvalidInputError for functions, symbols and what else cannot be copied. */
export const encodeValue = (value: unknown): Encoded => {
  if (value === undefined) return { payload: ABSENT, shared: { value: undefined } };
  if (isPlain(value, 0)) return readPayload(JSON_KIND + JSON.stringify(value));
  try {
    return { payload: CLONE_KIND + serialize(value).toString("base64"), shared: undefined };
  } catch (cause) {
    throw new InvalidInputError("value", typeof value, "data that can be copied", { cause });
  }
};

/** @throws SyntaxError or RangeError for what this program did not store. */
export const readPayload = (payload: string): Encoded => {
  switch (payload[0]) {
    case ABSENT:
      return { payload, shared: { value: undefined } };
    case JSON_KIND:
      return { payload, shared: { value: freeze(JSON.parse(payload.slice(1))) } };
    case CLONE_KIND:
      return { payload, shared: undefined };
    default:
      throw new RangeError("not a payload of this cache");
  }
};

/** The value for one reader. */
export const valueIn = (encoded: Encoded): unknown =>
  encoded.shared === undefined
    ? deserialize(Buffer.from(encoded.payload.slice(1), "base64"))
    : encoded.shared.value;

export const isAbsent = (encoded: Encoded): boolean => encoded.payload === ABSENT;

/** Whether JSON tells it exactly: nothing is lost, changed or added by writing and reading. */
const isPlain = (value: unknown, depth: number): boolean => {
  switch (typeof value) {
    case "string":
    case "boolean":
      return true;
    case "number":
      return Number.isFinite(value) && !Object.is(value, -0);
    case "object":
      break;
    default:
      return false;
  }
  if (value === null) return true;
  if (depth === DEPTH_MAX) return false;
  if (Array.isArray(value)) {
    for (let index = 0; index < value.length; index += 1) {
      if (!isPlain(value[index], depth + 1)) return false;
    }
    return Object.keys(value).length === value.length;
  }
  if (Object.getPrototypeOf(value) !== Object.prototype) return false;
  for (const name of Object.keys(value)) {
    const property = (value as Record<string, unknown>)[name];
    if (name === "__proto__" || name === "toJSON" || !isPlain(property, depth + 1)) return false;
  }
  return Object.getOwnPropertySymbols(value).length === 0;
};

const freeze = (value: unknown): unknown => {
  if (typeof value !== "object" || value === null) return value;
  for (const name in value) {
    const property = (value as Record<string, unknown>)[name];
    if (typeof property === "object" && property !== null) freeze(property);
  }
  return Object.freeze(value);
};
