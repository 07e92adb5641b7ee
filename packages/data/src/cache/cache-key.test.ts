import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { type CacheKey, type CacheKeyPart, keyName } from "./cache-key.ts";

const part: fc.Arbitrary<CacheKeyPart> = fc.letrec<{ part: CacheKeyPart }>((tie) => ({
  part: fc.oneof(
    { maxDepth: 2 },
    fc.string({ maxLength: 6 }).filter((text) => !text.includes("\0")),
    fc.constantFrom(":", "|", "s1:a", "[", "]", "#", "\u0001", "1", "null"),
    fc.double({ noNaN: true }),
    fc.bigInt({ min: -9n, max: 9n }),
    fc.boolean(),
    fc.constantFrom(null, undefined),
    fc.date({ noInvalidDate: true }),
    fc.float32Array({ maxLength: 3 }),
    fc.array(tie("part"), { maxLength: 3 }),
    fc.dictionary(fc.constantFrom("a", "b", "c:d"), tie("part"), { maxKeys: 3, noNullPrototype: true }),
  ),
})).part;

/** Equal exactly when the keys mean the same. */
const shape = (value: unknown): string => {
  if (ArrayBuffer.isView(value)) {
    const bytes = new Uint8Array(value.buffer, value.byteOffset, value.byteLength);
    return `${value.constructor.name}(${bytes.join()})`;
  }
  if (value instanceof Date) return `Date(${value.getTime()})`;
  if (Array.isArray(value)) return `[${value.map(shape).join(" , ")}]`;
  if (typeof value === "object" && value !== null) {
    const names = Object.keys(value).sort();
    return `{${names.map((name) => `${JSON.stringify(name)} = ${shape((value as Record<string, unknown>)[name])}`).join(" , ")}}`;
  }
  if (typeof value === "string") return JSON.stringify(value);
  return `${typeof value} ${Object.is(value, -0) ? "-0" : String(value)}`;
};

describe("a cache key", () => {
  it("has one name, and another name than every other key", () => {
    const key: fc.Arbitrary<CacheKey> = fc.oneof(
      fc.string({ minLength: 1, maxLength: 8 }).filter((text) => !text.includes("\0")),
      fc.array(part, { minLength: 1, maxLength: 3 }),
    );
    fc.assert(
      fc.property(key, key, (a, b) => {
        expect(keyName(a) === keyName(b)).toBe(shape(a) === shape(b));
        expect(keyName(a)).toBe(keyName(structuredClone(a)));
      }),
      { numRuns: 1_000 },
    );
  });

  it("is told from every other one in UTF-8 too, though texts end in the middle of a character", () => {
    const keys: readonly CacheKey[] = [
      "a\ud83d",
      "a\ud83e",
      "a\ufffd",
      "\ude00",
      ["a\ud83d"],
      ["a\ud83e"],
      ["a\ufffd"],
      [{ "\ud83d": 1 }],
      [{ "\ud83e": 1 }],
      `${"long ".repeat(50)}\ud83d`,
      `${"long ".repeat(50)}\ud83e`,
      "long ".repeat(50),
      ["long ".repeat(50)],
    ];
    const names = keys.map((key) => Buffer.from(keyName(key)).toString("hex"));
    expect(new Set(names).size).toBe(keys.length);
    expect(keyName("whole \u{1F600}")).toBe("whole \u{1F600}");
  });

  it("is unambiguous with separators in a namespace", () => {
    const names = [
      keyName(["a", "b:c"]),
      keyName(["a:b", "c"]),
      keyName(["a", "b", "c"]),
      keyName([["a", "b"], "c"]),
      keyName("a:b:c"),
      keyName(["a:b:c"]),
    ];
    expect(new Set(names).size).toBe(names.length);
  });

  it("differs for vectors that differ in the last bit, and for parameters in another value, not in another order", () => {
    const vector = new Float32Array(384).fill(0.1);
    const other = vector.slice();
    other[383] = 0.10000001;
    const search = (v: Float32Array, options: { k: number; filter: string }) =>
      keyName(["search", "ns", v, options]);
    expect(search(vector, { k: 10, filter: "x" })).not.toBe(search(other, { k: 10, filter: "x" }));
    expect(search(vector, { k: 10, filter: "x" })).not.toBe(search(vector, { k: 11, filter: "x" }));
    expect(keyName(["s", { k: 1, f: 2 }])).toBe(keyName(["s", { f: 2, k: 1 }]));
  });

  it("of any length has a short name", () => {
    const [a, b] = [keyName(["x".repeat(10_000), "a"]), keyName(["x".repeat(10_000), "b"])];
    expect(Math.max(a.length, b.length)).toBeLessThan(200);
    expect(a).not.toBe(b);
    expect(keyName("y".repeat(10_000)).length).toBeLessThan(200);
  });

  it("is refused when it is empty, holds NUL, or is made of what has no fixed text", () => {
    for (const key of ["", [], "a\0b", ["a\0b"], [Symbol("x")], [() => 1], [new Map()], 7]) {
      expect(() => keyName(key as CacheKey)).toThrow(/key must be/);
    }
  });
});
