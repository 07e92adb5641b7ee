import { VirtualClock } from "@holdfast/kernel/testing";
import { describe, expect, it } from "vitest";
import { ClaimCursor } from "./claim-cursor.ts";
import type { ClaimRow } from "./task-rows.ts";

const row = (seq: number): ClaimRow => ({ priority: 1, run_us: 1000, seq: `${seq}` }) as unknown as ClaimRow;

const setUp = () => {
  const clock = new VirtualClock();
  const cursor = new ClaimCursor(clock);
  const begin = () => ({ startedAt: clock.monotonicNow(), resetCount: cursor.resetCount });
  return { clock, cursor, begin };
};

describe("a claim cursor", () => {
  it("goes on where the last claim ended, and back to the beginning after a while", async () => {
    const { clock, cursor, begin } = setUp();
    expect(cursor.next(undefined)).toBeUndefined();
    cursor.found(undefined, [row(1), row(2)], begin());
    expect(cursor.next(undefined)).toEqual([null, null, null, null, 1000, "2", null, null]);
    cursor.found(undefined, [row(3)]);
    expect(cursor.next(undefined)).toEqual([null, null, null, null, 1000, "3", null, null]);
    await clock.advance(200);
    expect(cursor.next(undefined)).toBeUndefined();
  });

  it("looks from the beginning again when tasks came back during a look, which may have missed them", () => {
    const { cursor, begin } = setUp();
    const look = begin();
    cursor.reset();
    cursor.found(undefined, [row(1)], look);
    expect(cursor.next(undefined)).toBeUndefined();
    cursor.found(undefined, [row(2)], begin());
    expect(cursor.next(undefined)).toBeDefined();
  });
});
