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
  return quoted(item);
};

/** Without control characters and halves of pairs, which JSON would write in another way than an array does. */
const AS_IN_JSON = /^[\u0020-\ud7ff\ue000-\uffff]*$/;

/** For all other texts JSON's quoting is the array's, and four times as fast as replacing. */
const quoted = (text: string): string =>
  AS_IN_JSON.test(text) ? JSON.stringify(text) : `"${text.replace(/["\\]/g, "\\$&")}"`;
