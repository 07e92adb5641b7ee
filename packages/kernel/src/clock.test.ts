import { getEventListeners } from "node:events";
import { describe, expect, it, vi } from "vitest";
import { systemClock } from "./clock.ts";

describe("the system clock", () => {
  it("tells wall time in milliseconds since the epoch, and monotonic time that never goes back", () => {
    expect(Math.abs(systemClock.wallNow() - Date.now())).toBeLessThan(1_000);
    let before = systemClock.monotonicNow();
    for (let reading = 0; reading < 1_000; reading += 1) {
      const now = systemClock.monotonicNow();
      expect(now).toBeGreaterThanOrEqual(before);
      before = now;
    }
  });

  it("sleeps at least as long as asked", async () => {
    const startedAt = systemClock.monotonicNow();
    await systemClock.sleep(20);
    // A timer of the platform may fire up to a millisecond early by this clock.
    expect(systemClock.monotonicNow() - startedAt).toBeGreaterThanOrEqual(19);
  });

  it("takes negative and undefined durations as none", async () => {
    await systemClock.sleep(-5);
    await systemClock.sleep(Number.NaN);
  });

  it("does not fire at once for a wait longer than the platform's timers can hold", async () => {
    const callback = vi.fn();
    const timers = [2 ** 31, 2 ** 40, Number.POSITIVE_INFINITY].map((ms) =>
      systemClock.schedule(ms, callback),
    );
    await systemClock.sleep(5);
    for (const timer of timers) timer.cancel();
    expect(callback).not.toHaveBeenCalled();
  });

  it("waits longer than the platform's timers can hold, and not a day less", () => {
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
    try {
      const callback = vi.fn();
      const cancelled = vi.fn();
      const dayMs = 24 * 60 * 60 * 1000;
      systemClock.schedule(100 * dayMs, callback);
      const timer = systemClock.schedule(100 * dayMs, cancelled);
      vi.advanceTimersByTime(99 * dayMs);
      expect(callback).not.toHaveBeenCalled();
      timer.cancel();
      vi.advanceTimersByTime(dayMs);
      expect(callback).toHaveBeenCalledTimes(1);
      expect(cancelled).not.toHaveBeenCalled();
    } finally {
      vi.useRealTimers();
    }
  });

  it("ends a sleep at once with the caller's reason, and leaves neither timer nor listener", async () => {
    const controller = new AbortController();
    const sleeping = systemClock.sleep(60_000, { signal: controller.signal });
    expect(getEventListeners(controller.signal, "abort")).toHaveLength(1);
    const timersBefore = process.getActiveResourcesInfo().filter((name) => name === "Timeout").length;
    controller.abort("enough");
    await expect(sleeping).rejects.toBe("enough");
    expect(process.getActiveResourcesInfo().filter((name) => name === "Timeout").length).toBe(
      timersBefore - 1,
    );
    await expect(systemClock.sleep(60_000, { signal: controller.signal })).rejects.toBe("enough");
    const other = new AbortController();
    await systemClock.sleep(0, { signal: other.signal });
    expect(getEventListeners(other.signal, "abort")).toHaveLength(0);
  });

  it("never calls back after a cancel, which may be repeated", async () => {
    const callback = vi.fn();
    const timer = systemClock.schedule(0, callback);
    timer.cancel();
    timer.cancel();
    await systemClock.sleep(5);
    expect(callback).not.toHaveBeenCalled();
  });
});
