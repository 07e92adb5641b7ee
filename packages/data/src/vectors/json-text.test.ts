import { InvalidInputError } from "@holdfast/kernel";
import { describe, expect, it } from "vitest";
import { jsonText } from "./json-text.ts";

const cyclic: Record<string, unknown> = {};
cyclic["self"] = { of: cyclic };

const deep = (levels: number): Record<string, unknown> => {
  let value: Record<string, unknown> = {};
  for (let level = 1; level < levels; level += 1) value = { in: value };
  return value;
};

describe("the JSON of an object", () => {
  it("is that of JSON.stringify where nothing is lost", () => {
    const twice = { x: 1 };
    const value = {
      a: [1, null, "x", true, undefined],
      b: undefined,
      c: new Date(0),
      d: twice,
      e: [twice, twice],
      f: Object.create(null),
    };
    expect(jsonText(value, "metadata")).toBe(JSON.stringify(value));
    expect(() => jsonText(deep(1_000), "metadata")).not.toThrow();
  });

  it.each([
    ["a bigint", { size: 1n }, "metadata.size"],
    ["a function", { list: [{ f: () => 1 }] }, "metadata.list[0].f"],
    ["a symbol", { s: Symbol("s") }, "metadata.s"],
    ["what is no number", { score: Number.NaN }, "metadata.score"],
    ["a number without end", { score: [Number.POSITIVE_INFINITY] }, "metadata.score[0]"],
    ["an invalid date", { at: new Date(Number.NaN) }, "metadata.at"],
    ["a map", { m: new Map([["a", 1]]) }, "metadata.m"],
    ["numbers in bytes", { m: new Float32Array(2) }, "metadata.m"],
    ["itself", cyclic, "metadata.self.of"],
    ["what turns itself into a bigint", { odd: { toJSON: () => 1n } }, "metadata"],
    ["a list", [1] as never, "metadata"],
    ["text", "{}" as never, "metadata"],
  ] as const)("does not hold %s, and says where", (_what, value, field) => {
    expect(() => jsonText(value as Record<string, unknown>, "metadata")).toThrow(
      expect.objectContaining({ code: "KERNEL_INVALID_INPUT", field }),
    );
  });

  it("ends at its depth with an error of its own", () => {
    expect(() => jsonText(deep(100_000), "metadata")).toThrow(InvalidInputError);
  });
});
