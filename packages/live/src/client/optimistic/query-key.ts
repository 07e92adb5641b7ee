/** Names a value of a query cache: `["order"]` a list, `["order", "42"]` one of them. Parts are plain JSON. */
export type QueryKey = readonly unknown[];

export const hashOf = (key: QueryKey): string => JSON.stringify(key);

/** Whether `prefix` is the beginning of `key`, or all of it. */
export const startsWith = (key: QueryKey, prefix: QueryKey): boolean =>
  prefix.length <= key.length && prefix.every((part, index) => isSame(part, key[index]));

const isSame = (a: unknown, b: unknown): boolean =>
  a === b || (typeof a === "object" && typeof b === "object" && JSON.stringify(a) === JSON.stringify(b));
