/**
 * A PostgreSQL array as text, which every driver passes on unchanged, whatever it does with JavaScript arrays.
 * null and undefined become NULL.
 */
export const arrayLiteral = (
  items: readonly (string | number | bigint | boolean | null | undefined)[],
): string => `{${items.map(element).join(",")}}`;

const element = (item: string | number | bigint | boolean | null | undefined): string => {
  if (item === null || item === undefined) return "NULL";
  if (typeof item !== "string") return item.toString();
  return `"${item.replace(/["\\]/g, "\\$&")}"`;
};
