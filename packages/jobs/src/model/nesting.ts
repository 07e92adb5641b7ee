/**
 * Arrays and objects within each other in what a shard leaves behind. A frame takes 128 levels, and events, results
 * and assignments wrap what they carry in several of their own.
 */
export const NESTING_MAX_LEVELS = 100;

/** Whether arrays and objects lie more than `levels` deep in each other. Looks no deeper, so a cycle ends it. */
export const isNestedDeeper = (value: unknown, levels: number): boolean => {
  if (typeof value !== "object" || value === null) return false;
  if (levels === 0) return true;
  if (Array.isArray(value)) return value.some((item) => isNestedDeeper(item, levels - 1));
  for (const key in value) {
    if (isNestedDeeper((value as Record<string, unknown>)[key], levels - 1)) return true;
  }
  return false;
};
