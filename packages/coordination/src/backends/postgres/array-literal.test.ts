import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { arrayLiteral } from "./array-literal.ts";

/** Reads an array of texts as PostgreSQL does: a backslash means the character after it. */
const parse = (literal: string): string[] =>
  [...literal.slice(1, -1).matchAll(/"((?:[^"\\]|\\.)*)"/gsu)].map(([, text = ""]) =>
    text.replace(/\\(.)/gsu, "$1"),
  );

describe("an array as text", () => {
  it("means to PostgreSQL the very texts it was made of, quotes, line breaks and all", () => {
    const text = fc.oneof(
      fc.string({ unit: "binary" }),
      fc.json(),
      fc.string({ unit: fc.constantFrom('"', "\\", "\n", "\t", "a", "é", "\u2028", "😀") }),
    );
    fc.assert(
      fc.property(fc.array(text), (texts) => {
        expect(parse(arrayLiteral(texts))).toEqual(texts);
      }),
    );
  });

  it("writes null for what is missing, and numbers as they are", () => {
    expect(arrayLiteral([null, undefined, 1, 2n, true, "NULL"])).toBe('{NULL,NULL,1,2,true,"NULL"}');
  });
});
