import { InvalidInputError } from "@holdfast/kernel";
import { describe, expect, it } from "vitest";
import { indexFormFor } from "./index-form.ts";
import { type PlanInput, planSearch } from "./search-plan.ts";

const input = (changes: Partial<PlanInput>): PlanInput => ({
  k: 10,
  efSearch: 100,
  mode: "auto",
  indexes: [{ name: "whole", form: "plain" }],
  hasOtherFilter: false,
  hasNamespaceFilter: false,
  totalEstimate: 100_000,
  ...changes,
});

describe("the plan of a search", () => {
  it("is exact without an index, and says what to do", () => {
    expect(planSearch(input({ indexes: [] }))).toMatchObject({
      kind: "exact",
      reason: expect.stringContaining("buildIndex"),
    });
  });

  it("uses the index without a filter, never narrower than what is wanted", () => {
    expect(planSearch(input({}))).toMatchObject({ kind: "index", efSearch: 100 });
    expect(planSearch(input({ k: 400 }))).toMatchObject({ kind: "index", efSearch: 400 });
  });

  it.each([
    [50, "exact"],
    [1_000, "exact"],
    [40_000, "iterative"],
    [undefined, "iterative"],
  ])("for a filter that %s of 100,000 rows match is %s", (matchEstimate, kind) => {
    expect(planSearch(input({ hasOtherFilter: true, matchEstimate })).kind).toBe(kind);
  });

  it("walks the index only where one is asked for by force", () => {
    expect(planSearch(input({ hasOtherFilter: true, matchEstimate: 50, mode: "index" })).kind).toBe(
      "iterative",
    );
    expect(planSearch(input({ mode: "exact" })).kind).toBe("exact");
  });

  it("takes the index of the searched namespace, and no other's", () => {
    const indexes = [{ name: "part", form: "plain", namespace: "a" }] as const;
    const within = { indexes, hasNamespaceFilter: true };
    expect(planSearch(input({ ...within, namespace: "a" }))).toMatchObject({
      kind: "partial",
      index: "part",
    });
    expect(planSearch(input({ ...within, namespace: "b" })).kind).toBe("exact");
    expect(planSearch(input({ indexes })).kind).toBe("exact");
  });

  it("fetches more where the index keeps less of each vector", () => {
    expect(planSearch(input({ indexes: [{ name: "bits", form: "binary" }], k: 20 })).fetchCount).toBe(200);
    expect(planSearch(input({ indexes: [{ name: "half", form: "halfvec" }], k: 70 })).fetchCount).toBe(140);
    expect(planSearch(input({ indexes: [{ name: "whole", form: "plain" }], k: 70 })).fetchCount).toBe(70);
  });
});

describe("the form of an index", () => {
  it.each([
    ["vector", 2_000, "cosine", "plain"],
    ["vector", 3_072, "cosine", "halfvec"],
    ["vector", 8_192, "cosine", "binary"],
    ["halfvec", 4_000, "l2", "plain"],
    ["halfvec", 4_001, "inner-product", "binary"],
    ["bit", 64_000, "hamming", "plain"],
  ] as const)("of %s(%i) under %s is %s", (type, dimensions, distance, form) => {
    expect(indexFormFor({ type, dimensions, distance })).toBe(form);
  });

  it("is refused with advice where none fits", () => {
    const refused = (): unknown => indexFormFor({ type: "vector", dimensions: 8_192, distance: "l1" });
    expect(refused).toThrow(InvalidInputError);
    expect(refused).toThrow(/at most 4000 dimensions.*search without an index/);
    expect(() => indexFormFor({ type: "vector", dimensions: 8_192, distance: "cosine" }, "plain")).toThrow(
      /2000/,
    );
  });
});
