import { describe, expect, it } from "vitest";
import { ClaimPace } from "./claim-pace.ts";

const after = (durations: readonly number[]): ClaimPace => {
  const pace = new ClaimPace();
  for (const durationMs of durations) pace.observe("completed", durationMs);
  return pace;
};
const times = (count: number, durationMs: number): number[] =>
  Array.from({ length: count }, () => durationMs);

describe("claiming ahead", () => {
  it("starts after eight short shards in a row", () => {
    expect(after(times(7, 1)).aheadCount(2)).toBe(0);
    expect(after(times(8, 1)).aheadCount(2)).toBe(100);
  });

  it("claims about 50 ms of work per core, at most 64 shards", () => {
    expect(after(times(20, 10)).aheadCount(3)).toBe(15);
    expect(after(times(20, 0)).aheadCount(3)).toBe(192);
  });

  it("ends with the first long shard, and with the first failure", () => {
    expect(after([...times(50, 1), 30]).aheadCount(2)).toBe(0);
    const pace = after(times(50, 1));
    pace.observe("failed", 1);
    expect(pace.aheadCount(2)).toBe(0);
  });
});
