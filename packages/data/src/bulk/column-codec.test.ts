import { describe, expect, it } from "vitest";
import { type ColumnTypeName, codecOf } from "./column-codec.ts";
import { CopyWriter } from "./copy-writer.ts";

const write = (type: ColumnTypeName, value: unknown): void =>
  codecOf(type, "type").write(new CopyWriter(1_024), value, "column");

describe("a column of a bulk load", () => {
  it.each([
    ["the smallest int4", "int4", -(2 ** 31)],
    ["the largest int4", "int4", 2 ** 31 - 1],
    ["the smallest int8", "int8", -(2n ** 63n)],
    ["what JSON writes a NUL with", "jsonb", { text: "\\u0000" }],
    ["that after a backslash", "jsonb", "\\\\u0000"],
  ] as const)("takes %s", (_what, type, value) => {
    expect(() => write(type, value)).not.toThrow();
  });

  it.each([
    ["a larger int4", "int4", 2 ** 31],
    ["a smaller int4", "int4", -(2 ** 31) - 1],
    ["a part of one", "int4", 1.5],
    ["text for an int4", "int4", "1"],
    ["a larger int8", "int8", 2n ** 63n],
    ["a NUL in JSON", "jsonb", { text: "a\0" }],
    ["a NUL after a backslash", "jsonb", "\\\0"],
    ["a NUL in text", "text", "a\0"],
  ] as const)("refuses %s, naming the column", (_what, type, value) => {
    expect(() => write(type, value)).toThrow(expect.objectContaining({ field: "column" }));
  });
});
