import { InvalidInputError } from "@holdfast/kernel";

const EXPECTED = "what JSON can hold";
const DEPTH_MAX = 1_000;

/** @throws InvalidInputError as `refuseLossyJson`. */
export const jsonText = (value: Readonly<Record<string, unknown>>, field: string): string => {
  refuseLossyJson(value, field);
  try {
    return JSON.stringify(value);
  } catch (cause) {
    // By a `toJSON`.
    throw new InvalidInputError(field, typeof value, EXPECTED, { cause });
  }
};

/**
 * Lets an object pass of which nothing is lost as JSON: what `JSON.stringify` leaves out or writes as something else is
 * refused, but for what is `undefined` and for what has a `toJSON`, as dates do.
 * @throws InvalidInputError naming the path of what JSON cannot hold; of cycles, and of more than 1_000 levels.
 */
export const refuseLossyJson = (value: Readonly<Record<string, unknown>>, field: string): void => {
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw new InvalidInputError(field, value, "an object");
  }
  refuseLost(value, field, []);
};

/** @param above The objects that hold it, the outermost first. */
const refuseLost = (value: unknown, path: string, above: object[]): void => {
  switch (typeof value) {
    case "bigint":
    case "function":
    case "symbol":
      throw new InvalidInputError(path, value, EXPECTED);
    case "number":
      if (!Number.isFinite(value)) throw new InvalidInputError(path, String(value), EXPECTED);
      return;
    case "object":
      if (value !== null) refuseLostInside(value, path, above);
  }
};

const refuseLostInside = (value: object, path: string, above: object[]): void => {
  if (above.length >= DEPTH_MAX || above.includes(value)) {
    throw new InvalidInputError(path, "deeper ones", `without cycles and of ${DEPTH_MAX} levels at most`);
  }
  if ("toJSON" in value && typeof value.toJSON === "function") {
    if (!(value instanceof Date) || !Number.isNaN(value.getTime())) return;
    throw new InvalidInputError(path, "Invalid Date", EXPECTED);
  }
  if (value instanceof Map || value instanceof Set || ArrayBuffer.isView(value)) {
    throw new InvalidInputError(path, value.constructor.name, EXPECTED);
  }
  above.push(value);
  if (Array.isArray(value)) {
    for (const [index, item] of value.entries()) refuseLost(item, `${path}[${index}]`, above);
  } else {
    for (const [name, item] of Object.entries(value)) refuseLost(item, `${path}.${name}`, above);
  }
  above.pop();
};
