import { OverloadedError, seededRandom } from "@holdfast/kernel";
import { describe, expect, it } from "vitest";
import { InFlightCaps } from "./in-flight-caps.ts";
import { type Priority, priorities } from "./priority.ts";
import { queuePressure } from "./queue-pressure.ts";

const fill = (caps: InFlightCaps, priority: Priority, count: number): (() => void)[] =>
  Array.from({ length: count }, () => caps.tryEnter(priority)).filter((leave) => leave !== undefined);

describe("InFlightCaps", () => {
  it.each([
    ["high", 500],
    ["normal", 300],
    ["low", 200],
  ] as const)("lets %s work in up to %i", (priority, cap) => {
    const caps = new InFlightCaps();
    const inside = fill(caps, priority, cap + 5);
    expect(inside).toHaveLength(cap);
    inside[0]?.();
    inside[0]?.();
    expect(fill(caps, priority, 2)).toHaveLength(1);
  });

  it("lets critical work in without limit and counts it against the rest", () => {
    const caps = new InFlightCaps();
    expect(fill(caps, "critical", 5_000)).toHaveLength(5_000);
    expect(fill(caps, "high", 1)).toHaveLength(0);
  });

  it("holds all but critical work to the total", () => {
    const caps = new InFlightCaps({ totalMaxCount: 600 });
    fill(caps, "high", 500);
    expect(fill(caps, "normal", 300)).toHaveLength(100);
    expect(fill(caps, "critical", 1)).toHaveLength(1);
  });

  it("gives the place back however the work ends, and refuses with a typed error", async () => {
    const caps = new InFlightCaps({ lowMaxCount: 1 });
    await expect(caps.execute(() => Promise.reject(new Error("down")), { priority: "low" })).rejects.toThrow(
      "down",
    );
    const leave = caps.tryEnter("low");
    await expect(caps.execute(() => "never", { priority: "low" })).rejects.toBeInstanceOf(OverloadedError);
    leave?.();
    await expect(caps.execute(() => "done", { priority: "low" })).resolves.toBe("done");
  });

  it("accounts for every offer", () => {
    const caps = new InFlightCaps({ totalMaxCount: 20, highMaxCount: 10, normalMaxCount: 8, lowMaxCount: 5 });
    const random = seededRandom(1);
    const inside: (() => void)[] = [];
    for (let step = 0; step < 2_000; step += 1) {
      const priority = priorities[Math.floor(random.next() * 4)] ?? "low";
      const leave = caps.tryEnter(priority);
      if (leave !== undefined) inside.push(leave);
      if (random.next() < 0.5) inside.splice(Math.floor(random.next() * inside.length), 1)[0]?.();
      const stats = caps.stats;
      const sum = priorities.reduce((total, name) => total + stats.byPriority[name].inFlightCount, 0);
      expect(stats.inFlightCount).toBe(sum);
      expect(stats.inFlightCount).toBe(inside.length);
      for (const name of priorities) {
        const { offeredCount, endedCount, inFlightCount, refusedCount } = stats.byPriority[name];
        expect(offeredCount).toBe(endedCount + inFlightCount + refusedCount);
      }
    }
  });
});

describe("queuePressure", () => {
  it.each([
    [0, { kind: "none" }],
    [349, { kind: "none" }],
    [350, { kind: "throttle", delayMs: 50 }],
    [424, { kind: "throttle", delayMs: 50 }],
    [425, { kind: "batch", delayMs: 200 }],
    [474, { kind: "batch", delayMs: 200 }],
    [475, { kind: "overflow", delayMs: 100 }],
    [599, { kind: "overflow", delayMs: 100 }],
    [600, { kind: "reject", retryAfterMs: 500 }],
  ])("tells the senders of a queue of %i to %o", (length, expected) => {
    expect(queuePressure()(length)).toEqual(expected);
  });

  it("refuses limits that do not rise", () => {
    expect(() => queuePressure({ limits: [0.9, 0.8, 0.95] })).toThrow(/queuePressure.limits/);
    expect(() => queuePressure({ capacity: 0 })).toThrow(/queuePressure.capacity/);
  });
});
