import { VirtualClock } from "@holdfast/kernel/testing";
import { describe, expect, it } from "vitest";
import { LapseWindow } from "./lapse-window.ts";

const setUp = () => {
  const clock = new VirtualClock();
  const window = new LapseWindow(clock);
  const look = async (tookMs: number, sawAll = true): Promise<number | null> => {
    const begun = window.begin();
    await clock.advance(tookMs);
    window.end(begun, sawAll);
    return begun.windowMs;
  };
  return { clock, window, look };
};

describe("a lapse window", () => {
  it("is all claims as long as looking at them is cheap, and after one look that took long", async () => {
    const { clock, window, look } = setUp();
    for (const tookMs of [1, 400, 1, 50, 400]) {
      expect(await look(tookMs)).toBeNull();
      await clock.advance(2_000);
    }
    expect(window.windowMs).toBeNull();
  });

  it("reaches back to the last look where that is dear, and to all claims for a hundredth of the time", async () => {
    const { clock, window, look } = setUp();
    await look(400);
    await look(400);
    await clock.advance(1_600);
    // From when the last one began, and two seconds more.
    expect(window.windowMs).toBe(4_000);
    expect(await look(1)).toBe(4_000);
    expect(await look(1, false)).toBe(2_001);
    // It did not see all: the next one reaches as far back.
    expect(await look(1)).toBe(2_002);
    await clock.advance(40_000);
    expect(await look(400)).toBeNull();
  });
});
