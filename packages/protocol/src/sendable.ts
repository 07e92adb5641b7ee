import { DEPTH_MAX_COUNT } from "./messagepack-check.ts";

/**
 * What of a value would arrive as something else, or be refused there with all that came in the same message: functions,
 * symbols, promises, errors, expressions, views of memory that are no byte arrays, maps with keys that are no strings,
 * and objects of a class that has no `toJSON`.
 *
 * @returns Undefined when there is nothing; otherwise where the first lies and what it is: `.a[3] is a function`.
 */
export const findUnsendable = (value: unknown, depth = 0): string | undefined => {
  switch (typeof value) {
    case "function":
    case "symbol":
      return ` is a ${typeof value}`;
    case "object":
      break;
    default:
      return undefined;
  }
  if (value === null) return undefined;
  if (depth >= DEPTH_MAX_COUNT) return ` is nested deeper than ${DEPTH_MAX_COUNT} levels`;
  if (Array.isArray(value)) return inItems(value, depth);
  const prototype: unknown = Object.getPrototypeOf(value);
  if (prototype !== Object.prototype && prototype !== null) return inInstance(value, prototype, depth);
  // Faster than Object.keys. Only what is the object's own is sent, but what an altered prototype adds is plain nearly always.
  for (const key in value) {
    const found = findUnsendable((value as Record<string, unknown>)[key], depth + 1);
    if (found !== undefined) return `.${key}${found}`;
  }
  return undefined;
};

const inItems = (items: readonly unknown[], depth: number): string | undefined => {
  for (let index = 0; index < items.length; index += 1) {
    const found = findUnsendable(items[index], depth + 1);
    if (found !== undefined) return `[${index}]${found}`;
  }
  return undefined;
};

const inInstance = (value: object, prototype: unknown, depth: number): string | undefined => {
  if (value instanceof Uint8Array || value instanceof Date || value instanceof ArrayBuffer) return undefined;
  if (value instanceof Set) return inItems([...value], depth);
  if (value instanceof Map) {
    for (const [key, inner] of value) {
      if (typeof key !== "string") return `.keys() holds a ${typeof key}`;
      const found = findUnsendable(inner, depth + 1);
      if (found !== undefined) return `.${key}${found}`;
    }
    return undefined;
  }
  const { toJSON } = value as { readonly toJSON?: unknown };
  // It is asked once more when the value is written.
  if (typeof toJSON === "function") return findUnsendable(toJSON.call(value), depth + 1);
  if (Object.getPrototypeOf(prototype) === null && Object.hasOwn(prototype as object, "hasOwnProperty")) {
    // A plain object of another realm, as those of `node:vm` are.
    return findUnsendable({ ...value }, depth);
  }
  const name = value.constructor?.name ?? "";
  return name === "" ? " is an object with a prototype of its own" : ` is an instance of ${name}`;
};
