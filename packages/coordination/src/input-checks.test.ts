import { InvalidInputError } from "@holdfast/kernel";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { checkText, compareByCodePoint, encodeJson } from "./input-checks.ts";

describe("names", () => {
  it("are ordered as the bytes of their UTF-8", () => {
    fc.assert(
      fc.property(fc.string({ unit: "binary" }), fc.string({ unit: "binary" }), (a, b) => {
        expect(Math.sign(compareByCodePoint(a, b))).toBe(
          Math.sign(Buffer.compare(Buffer.from(a), Buffer.from(b))),
        );
      }),
    );
  });

  it("are refused when a store could not give them back unchanged", () => {
    for (const name of ["", "x".repeat(11), "a\0b", "\udc00", 5 as unknown as string]) {
      expect(() => checkText("name", name, 10)).toThrow(InvalidInputError);
    }
    checkText("name", "größe/🚀 x", 10);
  });
});

describe("payloads", () => {
  it("are measured in bytes of UTF-8", () => {
    expect(encodeJson("p", "ü".repeat(4), 10)).toBe('"üüüü"');
    expect(() => encodeJson("p", "ü".repeat(4), 9)).toThrow("p has 10 bytes; the limit is 9");
  });

  it("are refused when they are not JSON", () => {
    const cycle: Record<string, unknown> = {};
    cycle["self"] = cycle;
    for (const value of [undefined, () => 1, 1n, cycle]) {
      expect(() => encodeJson("p", value as never, 100)).toThrow(InvalidInputError);
    }
  });
});
