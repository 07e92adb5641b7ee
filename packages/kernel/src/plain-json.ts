import { InvalidInputError } from "./errors.ts";
import { isSurelyPlain } from "./surely-plain.ts";

const PATH_MAX_LENGTH = 256;

/**
 * Refuses what `JSON.stringify` would lose without a word: functions, symbols, bigints, NaN, infinities, undefined as
 * a whole or in an array, invalid dates, cycles, bytes, and objects of a class (errors, maps, sets) without a `toJSON`.
 * What has a `toJSON`, as dates have, counts as what that returns; it is called once more when the value is encoded.
 * Bytes are refused whatever they have: a `Buffer` would come back as a list of numbers. A property that is undefined is left out: whoever reads it finds undefined on either side. Negative zero
 * becomes zero; properties with symbols as keys and properties of arrays beside their items are not looked at.
 *
 * The look costs a quarter of the encoding: 0.1 to 4 µs for 2 KiB on Node 20, where JSON.stringify takes 8 to 20 µs and
 * with a replacer 50.
 *
 * @param field What the value is called: the error names `field.path[0].to.it`.
 * @throws InvalidInputError that names the path and the kind of the first value that would be lost.
 */
export const checkPlainJson = (field: string, value: unknown): void => {
  let loss: Loss | undefined;
  try {
    if (isSurelyPlain(value)) return;
    loss = findLoss(value, field, new Map());
  } catch (cause) {
    const expected =
      cause instanceof RangeError
        ? "nested less deeply"
        : "plain JSON, not something that throws when it is read";
    throw new InvalidInputError(field, value, expected, { cause });
  }
  if (loss !== undefined)
    throw new InvalidInputError(shorten(loss.path), loss.value, `plain JSON, not ${loss.kind}`);
};

interface Loss {
  readonly path: string;
  readonly kind: string;
  readonly value: unknown;
}

/** @param above The objects that `value` lies in, with their paths. */
const findLoss = (given: unknown, path: string, above: Map<object, string>): Loss | undefined => {
  const value = encodedOf(given, path);
  const kind = lossyKind(value);
  if (kind !== undefined) return { path, kind, value };
  if (typeof value !== "object" || value === null) return undefined;
  const sameAbove = above.get(value);
  if (sameAbove !== undefined) return { path, kind: `a cycle back to ${shorten(sameAbove)}`, value };
  above.set(value, path);
  const loss = Array.isArray(value) ? lossInItems(value, path, above) : lossInProperties(value, path, above);
  above.delete(value);
  return loss;
};

const lossInItems = (
  items: readonly unknown[],
  path: string,
  above: Map<object, string>,
): Loss | undefined => {
  for (let index = 0; index < items.length; index += 1) {
    const loss = findLoss(items[index], `${path}[${index}]`, above);
    if (loss !== undefined) return loss;
  }
  return undefined;
};

const lossInProperties = (value: object, path: string, above: Map<object, string>): Loss | undefined => {
  for (const [key, inner] of Object.entries(value)) {
    if (inner === undefined) continue;
    const loss = findLoss(
      inner,
      `${path}${IDENTIFIER.test(key) ? `.${key}` : `[${JSON.stringify(key)}]`}`,
      above,
    );
    if (loss !== undefined) return loss;
  }
  return undefined;
};

const IDENTIFIER = /^[A-Za-z_$][\w$]*$/;

/**
 * What JSON.stringify takes for the value. An invalid date stays as it is: it would be encoded as null. So do bytes:
 * the `toJSON` of a Buffer gives an object that nothing makes bytes of again.
 */
const encodedOf = (value: unknown, path: string): unknown => {
  if (typeof value !== "object" || value === null || ArrayBuffer.isView(value)) return value;
  if (value instanceof Date && Number.isNaN(value.getTime())) return value;
  const { toJSON } = value as { readonly toJSON?: unknown };
  return typeof toJSON === "function" ? toJSON.call(value, path) : value;
};

const lossyKind = (value: unknown): string | undefined => {
  switch (typeof value) {
    case "undefined":
      return "undefined";
    case "number":
      return Number.isFinite(value) ? undefined : `${value}`;
    case "function":
    case "symbol":
    case "bigint":
      return `a ${typeof value}`;
    case "object":
      return value === null || Array.isArray(value) || isPlainObject(value)
        ? undefined
        : kindOfInstance(value);
    default:
      return undefined;
  }
};

/** Also of another realm, as objects of `node:vm` are. */
const isPlainObject = (value: object): boolean => {
  const prototype: unknown = Object.getPrototypeOf(value);
  if (prototype === null || prototype === Object.prototype) return true;
  return Object.getPrototypeOf(prototype) === null && Object.hasOwn(prototype as object, "hasOwnProperty");
};

const kindOfInstance = (value: object): string => {
  if (value instanceof Date) return "an invalid date";
  const maker: unknown = value.constructor;
  const name = typeof maker === "function" ? maker.name : "";
  return name === "" ? "an object with a prototype of its own" : `an instance of ${name}`;
};

const shorten = (path: string): string =>
  path.length <= PATH_MAX_LENGTH ? path : `${path.slice(0, 64)}…${path.slice(64 - PATH_MAX_LENGTH)}`;
