import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { encodeValue, readPayload, valueIn } from "./codec.ts";

const roundTrip = (value: unknown): unknown => valueIn(readPayload(encodeValue(value).payload));

describe("a stored value", () => {
  it("comes back with the types it had, from the load and from the store alike", () => {
    const values = [
      null,
      undefined,
      [],
      {},
      "",
      0,
      -0,
      Number.NaN,
      Number.POSITIVE_INFINITY,
      12345678901234567890n,
      new Date(0),
      new Float32Array([0.1, -0, Number.NaN]),
      new Map([["a", new Set([1n])]]),
      { a: undefined },
      [1, undefined, 3],
      { at: new Date(5), vector: new Float32Array([1, 2]), n: 1n, rows: [null, { x: [] }] },
      JSON.parse('{"__proto__": 1}'),
      { toJSON: "not a function" },
      "\ud800 alone",
    ];
    for (const value of values) {
      expect(roundTrip(value)).toStrictEqual(value);
      expect(valueIn(encodeValue(value))).toStrictEqual(value);
    }
  });

  it("comes back whatever it is made of", () => {
    const anything = fc.anything({
      withBigInt: true,
      withDate: true,
      withTypedArray: true,
      withMap: true,
      withSet: true,
      withSparseArray: true,
      maxDepth: 3,
    });
    fc.assert(
      fc.property(anything, (value) => {
        const first = valueIn(encodeValue(value));
        expect(first).toStrictEqual(structuredClone(value));
        expect(roundTrip(value)).toStrictEqual(first);
      }),
      { numRuns: 300 },
    );
  });

  it("is frozen where it is shared, and a copy of one's own where it is not", () => {
    const plain = encodeValue({ list: [{ a: 1 }] });
    expect(valueIn(plain)).toBe(valueIn(plain));
    expect(() => (valueIn(plain) as { list: { a: number }[] }).list.push({ a: 2 })).toThrow(TypeError);
    const rich = encodeValue({ at: new Date(1) });
    expect(valueIn(rich)).not.toBe(valueIn(rich));
    const source = { a: [1] };
    encodeValue(source);
    source.a.push(2);
    expect(source.a).toEqual([1, 2]);
  });

  it("is refused when it cannot be copied", () => {
    expect(() => encodeValue(() => 1)).toThrow(/value must be/);
    expect(() => encodeValue({ symbol: Symbol("x") })).toThrow(/value must be/);
  });

  it("that this program did not store is refused", () => {
    expect(() => readPayload("x1")).toThrow(RangeError);
    expect(() => readPayload("j{")).toThrow(SyntaxError);
  });
});
