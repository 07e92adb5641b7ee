import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { decodeValue, encodeValue } from "./codec.ts";
import { DEPTH_MAX_COUNT } from "./messagepack-check.ts";

const bytesOf = (text: string): Uint8Array => Uint8Array.from(Buffer.from(text.replaceAll(" ", ""), "hex"));
const refused = expect.objectContaining({ code: "PROTOCOL_SERIALIZATION" });

const key = fc.string({ maxLength: 12 }).filter((text) => text !== "__proto__");
const leaf = fc.oneof(
  fc.string({ unit: "binary" }),
  fc.double().filter((value) => !Object.is(value, -0)),
  fc.integer(),
  fc.boolean(),
  fc.constant(null),
  fc.constant(undefined),
  fc.bigInt({ min: -(2n ** 63n), max: 2n ** 64n - 1n }),
  fc.date({ noInvalidDate: true, min: new Date(0), max: new Date(4e12) }),
);
const { value: anyValue } = fc.letrec((tie) => ({
  value: fc.oneof(
    { depthSize: "small" },
    leaf,
    fc.array(tie("value"), { maxLength: 20 }),
    fc.dictionary(key, tie("value"), { noNullPrototype: true, maxKeys: 20 }),
  ),
}));

describe("codec", () => {
  it("brings back every value that it takes, bigints and dates included", () => {
    fc.assert(
      fc.property(anyValue, (value) => {
        expect(decodeValue(encodeValue(value))).toEqual(value);
      }),
      { numRuns: 500 },
    );
  });

  it("brings back byte arrays, long strings, long arrays and objects of more than 65,535 keys", () => {
    const value = {
      bytes: new Uint8Array(70_000).fill(3),
      text: "ß".repeat(70_000),
      list: Array.from({ length: 70_000 }, (_, index) => index),
      map: Object.fromEntries(Array.from({ length: 70_000 }, (_, index) => [`k${index}`, index])),
    };
    const back = decodeValue(encodeValue(value)) as typeof value;
    expect(Uint8Array.from(back.bytes)).toEqual(value.bytes);
    expect({ ...back, bytes: value.bytes }).toEqual(value);
  });

  it("writes the bytes that other implementations read", () => {
    expect(Buffer.from(encodeValue({ a: [1, "x", null, true], b: -1.5 })).toString("hex")).toBe(
      "82a1619401a178c0c3a162cbbff8000000000000",
    );
  });

  it("cannot be talked into changing prototypes", () => {
    const value = decodeValue(bytesOf("82 a9 5f5f70726f746f5f5f 81a7697341646d696ec3 a161 01")) as object;
    expect(Object.getPrototypeOf(value)).toBe(Object.prototype);
    expect((value as { isAdmin?: boolean }).isAdmin).toBeUndefined();
  });

  it("refuses what cannot be sent", () => {
    const circular: { self?: unknown } = {};
    circular.self = circular;
    for (const value of [circular, 2n ** 64n, Symbol("x"), { at: new Date(Number.NaN) }]) {
      expect(() => encodeValue(value)).toThrowError(refused);
    }
  });

  class Point {
    readonly x = 1;
  }

  it.each([
    ["a function", () => 1],
    ["an error", new Error("x")],
    ["a regular expression", /x/],
    ["a promise", Promise.resolve(1)],
    // Of these, what was in memory before was sent.
    ["numbers in memory", new Float64Array([1.5])],
    ["a view of memory", new DataView(new ArrayBuffer(8))],
    ["an object of a class", new Point()],
    ["a map whose keys are numbers", new Map([[1, 2]])],
    ["an object that is written as numbers in memory", { toJSON: () => new Uint16Array(3) }],
    [
      "something that throws when it is read",
      Object.defineProperty({}, "x", {
        enumerable: true,
        get: () => {
          throw new Error("no");
        },
      }),
    ],
  ])("refuses to send %s, wherever it lies", (_name, value) => {
    for (const outer of [
      value,
      [value],
      { a: { b: [0, value] } },
      new Map([["k", value]]),
      new Set([value]),
    ]) {
      expect(() => encodeValue(outer)).toThrowError(refused);
    }
  });

  it("says where in a value the one lies that cannot be sent", () => {
    expect(() => encodeValue({ rows: [1, { run: Math.max }] })).toThrowError(
      "The payload holds a value that cannot be sent: it.rows[1].run is a function",
    );
    expect(() => encodeValue({ at: new Point() })).toThrowError("it.at is an instance of Point");
  });

  it("takes sets, maps, bytes and what has a toJSON", () => {
    const value = {
      set: new Set([1, "x"]),
      map: new Map([["k", [true]]]),
      url: new URL("http://h/p"),
      bytes: Buffer.from("ab"),
      bare: Object.assign(Object.create(null) as object, { a: undefined }),
    };
    expect(decodeValue(encodeValue(value))).toEqual({
      set: [1, "x"],
      map: { k: [true] },
      url: "http://h/p",
      bytes: Buffer.from("ab"),
      bare: { a: undefined },
    });
  });

  it("sends nothing that the other side would refuse for its depth", () => {
    const nested = (depth: number): unknown => (depth === 0 ? 1 : [nested(depth - 1)]);
    expect(decodeValue(encodeValue(nested(DEPTH_MAX_COUNT)))).toEqual(nested(DEPTH_MAX_COUNT));
    expect(() => encodeValue(nested(DEPTH_MAX_COUNT + 1))).toThrowError(refused);
  });

  it.each([
    ["nothing", ""],
    ["a cut string", "a5 6162"],
    ["a cut number", "cf 0102"],
    ["a cut length", "dd 0000"],
    ["an array that announces four billion items", "dd ffffffff 00"],
    ["an array that announces more than is left", "dc 0064 00 00"],
    ["a map that announces more than is left", "df 00ffffff a161 01"],
    ["a byte array that announces more than is left", "c6 7fffffff 00"],
    ["two values", "01 01"],
    ["a key that is a number", "81 01 01"],
    ["a key that is an array", "81 90 01"],
    ["a record definition", "d4 72 40 91 a161 01"],
    ["a regular expression", "d6 78 92 a178 a0"],
    ["a set", "d5 73 9101"],
    ["a large extension", "c9 00000002 01 0000"],
    ["the byte that means nothing", "c1"],
  ])("refuses %s", (_name, bytes) => {
    expect(() => decodeValue(bytesOf(bytes))).toThrowError(refused);
  });

  it("refuses nesting that would overflow the stack, and takes what is below the limit", () => {
    const nested = (depth: number): Uint8Array => Uint8Array.from([...Array(depth).fill(0x91), 0xc0]);
    expect(() => decodeValue(nested(DEPTH_MAX_COUNT))).not.toThrow();
    expect(() => decodeValue(nested(DEPTH_MAX_COUNT + 1))).toThrowError(refused);
    expect(() => decodeValue(nested(1_000_000))).toThrowError(refused);
  });

  it("ends in a value or a typed error on any bytes", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 60 }), (bytes) => {
        try {
          decodeValue(bytes);
        } catch (error) {
          expect(error).toEqual(refused);
        }
      }),
      { numRuns: 2_000 },
    );
  });
});
