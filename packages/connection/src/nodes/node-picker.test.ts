import { seededRandom } from "@holdfast/kernel";
import { describe, expect, it } from "vitest";
import { type Candidate, powerOfTwoChoices } from "./node-picker.ts";

const node = (nodeId: number, more: Partial<Candidate> = {}): Candidate => ({
  nodeId,
  inFlightCount: 0,
  roundTripMs: 1,
  lastPickedOrder: 0,
  ...more,
});

const countsOf = (candidates: readonly Candidate[], pickCount: number): ReadonlyMap<number, number> => {
  const pick = powerOfTwoChoices({ random: seededRandom(4) });
  const counts = new Map<number, number>(candidates.map(({ nodeId }) => [nodeId, 0]));
  const state = candidates.map((candidate) => ({ ...candidate }));
  for (let order = 1; order <= pickCount; order += 1) {
    const picked = pick(state);
    picked.lastPickedOrder = order;
    counts.set(picked.nodeId, (counts.get(picked.nodeId) ?? 0) + 1);
  }
  return counts;
};

describe("powerOfTwoChoices", () => {
  it("starves nobody when requests come one after the other", () => {
    for (const count of countsOf([node(1), node(2), node(3), node(4), node(5)], 1_000).values()) {
      expect(count).toBeGreaterThan(150);
    }
  });

  it("takes the one with fewer requests in flight of any two", () => {
    const counts = countsOf([node(1, { inFlightCount: 5 }), node(2), node(3)], 900);
    // Only what it gets for having been passed over so often.
    expect(counts.get(1)).toBeLessThanOrEqual(18);
    expect(counts.get(2)).toBeGreaterThan(300);
  });

  it("asks nodes that are further away than the window only now and then, and keeps those at its edge", () => {
    const counts = countsOf(
      [node(1, { roundTripMs: 2 }), node(2, { roundTripMs: 17 }), node(3, { roundTripMs: 17.1 })],
      300,
    );
    expect(counts.get(3)).toBeGreaterThan(0);
    expect(counts.get(3)).toBeLessThanOrEqual(6);
    expect(counts.get(2)).toBeGreaterThan(100);
  });

  it("asks nodes that were never measured, and the only one there is", () => {
    expect(countsOf([node(1), node(2, { roundTripMs: undefined })], 100).get(2)).toBeGreaterThan(30);
    expect(countsOf([node(9, { roundTripMs: 900 })], 10).get(9)).toBe(10);
  });

  it.each([
    ["latencyWindowMs", Number.NaN],
    ["latencyWindowMs", -1],
    ["passedOverMaxCount", Number.NaN],
    ["passedOverMaxCount", 0],
  ])("refuses %s of %d, before anyone is picked", (field, value) => {
    expect(() => powerOfTwoChoices({ random: seededRandom(1), [field]: value })).toThrowError(
      expect.objectContaining({ code: "KERNEL_INVALID_INPUT", field }),
    );
  });
});
