import { runInNewContext } from "node:vm";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { InvalidInputError } from "./errors.ts";
import { checkPlainJson } from "./plain-json.ts";

const refusalOf = (value: unknown): InvalidInputError => {
  try {
    checkPlainJson("payload", value);
  } catch (error) {
    if (error instanceof InvalidInputError) return error;
    throw error;
  }
  throw new Error("it was not refused");
};

class Point {
  readonly x = 1;
}

describe("a value that goes out as JSON", () => {
  it("is let through whenever JSON gives it back as it was", () => {
    fc.assert(
      fc.property(fc.jsonValue({ maxDepth: 6, noUnicodeString: false }), (value) => {
        checkPlainJson("payload", value);
      }),
    );
    for (const value of [
      Object.create(null),
      runInNewContext("({ a: [1, {}] })"),
      JSON.parse('{"__proto__":[]}'),
    ]) {
      checkPlainJson("payload", value);
    }
  });

  it.each([
    [() => 1, "a function"],
    [Symbol("s"), "a symbol"],
    [1n, "a bigint"],
    [Number.NaN, "NaN"],
    [Number.NEGATIVE_INFINITY, "-Infinity"],
    [new TypeError("no"), "an instance of TypeError"],
    [new Map([[1, 2]]), "an instance of Map"],
    [new Set(), "an instance of Set"],
    [Buffer.from("bytes"), "an instance of Buffer"],
    [new Uint8Array(2), "an instance of Uint8Array"],
    [new BigInt64Array(1), "an instance of BigInt64Array"],
    [new DataView(new ArrayBuffer(1)), "an instance of DataView"],
    [new ArrayBuffer(2), "an instance of ArrayBuffer"],
    [new Point(), "an instance of Point"],
    [Promise.resolve(), "an instance of Promise"],
    [Object.create(new (class {})()), "an object with a prototype of its own"],
    [new Date(Number.NaN), "an invalid date"],
    [[1, undefined], "undefined"],
  ])("is refused with its path and kind where it would be lost: %s", (value, kind) => {
    const where = Array.isArray(value) ? "[1]" : "";
    expect(refusalOf(value).message).toContain(`payload${where} must be plain JSON, not ${kind};`);
    const nested = refusalOf({ fine: "", rows: [{}, { "a b": value }] });
    expect(nested.field).toBe(`payload.rows[1]["a b"]${where}`);
    expect(nested.message).toContain(`not ${kind};`);
  });

  it("is refused as a cycle only where it lies within itself, not where it lies twice", () => {
    const shared = { deep: [{ n: 1 }] };
    checkPlainJson("payload", { a: shared, b: [shared, shared], when: new Date(0) });
    const cyclic: Record<string, unknown> = { shared };
    cyclic["self"] = { back: [cyclic] };
    expect(refusalOf({ cyclic }).message).toContain(
      "payload.cyclic.self.back[0] must be plain JSON, not a cycle back to payload.cyclic;",
    );
    const bare = Object.create(null) as Record<string, unknown>;
    bare["self"] = bare;
    expect(refusalOf(bare).field).toBe("payload.self");
  });

  it("counts as what its toJSON returns, and leaves out properties that are undefined", () => {
    checkPlainJson("payload", { at: new Date(0), url: new URL("http://a.b/"), left: undefined });
    checkPlainJson("payload", { own: { toJSON: () => [1], inner: () => 1 } });
    expect(refusalOf({ own: { toJSON: () => ({ f: () => 1 }) } }).field).toBe("payload.own.f");
  });

  it("is refused when it is nested too deeply to be encoded, or throws when it is read", () => {
    let deep: unknown = [];
    for (let depth = 0; depth < 200_000; depth += 1) deep = [deep];
    expect(refusalOf(deep).message).toContain("payload must be nested less deeply");
    const cause = new Error("not now");
    const throwing = {
      get inner() {
        throw cause;
      },
    };
    expect(refusalOf(throwing).cause).toBe(cause);
  });

  it("is refused with a path of bounded length", () => {
    const long = "k".repeat(10_000);
    expect(refusalOf({ [long]: { end: () => 1 } }).field).toMatch(/^payload\.k+…k+\.end$/);
    expect(refusalOf({ [long]: { end: () => 1 } }).field.length).toBeLessThan(300);
  });
});
