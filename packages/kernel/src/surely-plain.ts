/** What is deeper needs a closer look, which also finds cycles. */
const QUICK_DEPTH = 64;

/** Whether JSON surely holds the value without loss, by one quick look. False means that a closer one is needed. */
export const isSurelyPlain = (value: unknown, depth: number = QUICK_DEPTH): boolean => {
  switch (typeof value) {
    case "string":
    case "boolean":
      return true;
    case "number":
      return Number.isFinite(value);
    case "object":
      break;
    default:
      return false;
  }
  if (value === null) return true;
  if (depth === 0) return false;
  if (Array.isArray(value)) {
    for (let index = 0; index < value.length; index += 1) {
      if (!isSurelyPlain(value[index], depth - 1)) return false;
    }
    return true;
  }
  const prototype: unknown = Object.getPrototypeOf(value);
  if (prototype !== Object.prototype && prototype !== null) {
    return prototype === Date.prototype && !Number.isNaN((value as Date).getTime());
  }
  // Faster than Object.keys. What an altered prototype adds is looked at too, and no plain value is refused for it.
  for (const key in value) {
    const inner = (value as Record<string, unknown>)[key];
    if (inner !== undefined && !isSurelyPlain(inner, depth - 1)) return false;
  }
  return true;
};
