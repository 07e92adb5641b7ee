import { InvalidInputError } from "@holdfast/kernel";
import { describe, expect, it } from "vitest";
import { checkVector, type VectorShape } from "./check-vector.ts";
import type { VectorType } from "./vector-type.ts";

const fieldOf = (shape: VectorShape, value: unknown): string => {
  try {
    checkVector(shape, value, "embedding");
  } catch (error) {
    if (error instanceof InvalidInputError) return error.field;
    throw error;
  }
  return "accepted";
};
const shape = (type: VectorType, dimensions = 3): VectorShape => ({ type, dimensions });

describe("a vector", () => {
  it.each([
    ["a wrong length", shape("vector"), [1, 2], "embedding"],
    ["NaN", shape("vector"), [1, Number.NaN, 3], "embedding[1]"],
    ["NaN in a typed array", shape("vector"), new Float32Array([1, 2, Number.NaN]), "embedding[2]"],
    ["infinity", shape("vector"), [Number.NEGATIVE_INFINITY, 2, 3], "embedding[0]"],
    ["a double that 32 bits cannot hold", shape("vector"), [1, 2, 1e39], "embedding[2]"],
    ["text", shape("vector"), [1, "2", 3], "embedding[1]"],
    ["a hole", shape("vector"), [1, undefined, 3], "embedding[1]"],
    ["no array", shape("vector"), "1,2,3", "embedding"],
    ["more than 16 bits hold", shape("halfvec"), [1, 70_000, 3], "embedding[1]"],
    ["only zeros under cosine", { ...shape("vector"), distance: "cosine" }, [0, 0, 0], "embedding"],
    ["another digit", shape("bit"), "012", "embedding[2]"],
    [
      "indices out of order",
      shape("sparsevec"),
      { dimensions: 3, indices: [1, 0], values: [1, 1] },
      "embedding.indices[1]",
    ],
    [
      "an index too large",
      shape("sparsevec"),
      { dimensions: 3, indices: [3], values: [1] },
      "embedding.indices[0]",
    ],
    [
      "a stored zero",
      shape("sparsevec"),
      { dimensions: 3, indices: [1], values: [0] },
      "embedding.values[0]",
    ],
    [
      "only what 32 bits round to zero under cosine",
      { ...shape("vector"), distance: "cosine" },
      [1e-50, 0, -1e-46],
      "embedding",
    ],
    [
      "only what 16 bits round to zero under cosine",
      { ...shape("halfvec"), distance: "cosine" },
      [2 ** -25, 0, -1e-9],
      "embedding",
    ],
    [
      "a value that 32 bits round to zero",
      shape("sparsevec"),
      { dimensions: 3, indices: [1], values: [1e-50] },
      "embedding.values[0]",
    ],
    [
      "fewer values than indices",
      shape("sparsevec"),
      { dimensions: 3, indices: [1, 2], values: [1] },
      "embedding.values",
    ],
  ] as const)("with %s is refused, and the place is named", (_what, given, value, field) => {
    expect(fieldOf(given as VectorShape, value)).toBe(field);
  });

  it("that fits is accepted", () => {
    expect(fieldOf({ ...shape("vector"), distance: "cosine" }, new Float32Array([0, 0, 1]))).toBe("accepted");
    expect(fieldOf({ ...shape("vector"), distance: "l2" }, [0, 0, 0])).toBe("accepted");
    expect(fieldOf(shape("bit", 4), "0101")).toBe("accepted");
    expect(fieldOf(shape("sparsevec", 9), { dimensions: 9, indices: [0, 8], values: [1, -2] })).toBe(
      "accepted",
    );
  });
});
