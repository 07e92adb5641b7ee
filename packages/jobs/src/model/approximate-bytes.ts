/**
 * About how many bytes a value takes on the wire, without encoding it. Used where a buffer needs a bound, not
 * an exact figure; strings outside ASCII count for less than they take, at most by a factor of three.
 */
export const approximateBytes = (value: unknown): number => {
  if (typeof value === "string") return value.length + 3;
  if (typeof value !== "object" || value === null) return 9;
  let bytes = 3;
  if (Array.isArray(value)) {
    for (const item of value) bytes += approximateBytes(item);
    return bytes;
  }
  for (const key in value)
    bytes += key.length + 2 + approximateBytes((value as Record<string, unknown>)[key]);
  return bytes;
};
