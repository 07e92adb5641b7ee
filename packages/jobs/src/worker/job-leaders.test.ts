import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { JobLeaders } from "./job-leaders.ts";

const leader = (fence: bigint) => ({ nodeId: `m${fence}`, address: `m${fence}:1`, fence: `${fence}` });
const LARGE = 2n ** 53n;

describe("the leaders that a worker knows", () => {
  it("end at the largest fence, in whatever order they are announced, also beyond 2^53", () => {
    const fences = fc.array(fc.bigInt({ min: LARGE, max: LARGE + 20n }), { minLength: 10, maxLength: 10 });
    fc.assert(
      fc.property(fences, (announced) => {
        let changeCount = 0;
        const leaders = new JobLeaders(() => {
          changeCount += 1;
        });
        leaders.hold("job", leader(LARGE - 1n));
        const taken = announced.filter((fence) => leaders.update("job", leader(fence)));
        const largest = announced.reduce((a, b) => (a > b ? a : b));
        expect(leaders.of("job")).toEqual(leader(largest));
        expect(taken).toEqual(taken.toSorted((a, b) => (a < b ? -1 : 1)));
        expect(changeCount).toBe(taken.length);
      }),
    );
  });

  it("are kept for each job on its own, and only while it has claims", () => {
    const leaders = new JobLeaders(() => undefined);
    leaders.hold("a", leader(9n));
    leaders.hold("a", leader(9n));
    leaders.hold("b", leader(1n));
    expect(leaders.update("b", leader(2n))).toBe(true);
    expect(leaders.update("a", leader(9n))).toBe(false);
    expect(leaders.update("a", leader(8n))).toBe(false);
    leaders.release("a");
    expect(leaders.of("a")).toEqual(leader(9n));
    leaders.release("a");
    expect(leaders.of("a")).toBe(undefined);
    expect(leaders.update("a", leader(10n))).toBe(false);
    expect(leaders.of("b")).toEqual(leader(2n));
  });
});
