import { VirtualClock } from "@holdfast/kernel/testing";
import { describe, expect, it } from "vitest";
import { type HealthOptions, healthSettingsOf, NodeHealth } from "./node-health.ts";

const setup = (options: HealthOptions = {}) => {
  const clock = new VirtualClock();
  return { clock, health: new NodeHealth(clock, healthSettingsOf(options)) };
};

const record = (health: NodeHealth) => health.record({ nodeId: 1, host: "a:1" });

describe("NodeHealth", () => {
  it("starts well, with no failures and never checked", () => {
    expect(record(setup().health)).toEqual({
      nodeId: 1,
      host: "a:1",
      isHealthy: true,
      isHeld: false,
      isObservedHealthy: true,
      lastCheckAt: undefined,
      failuresInRow: 0,
      ejectionCount: 0,
    });
  });

  it("counts failures in a row, and forgets them with a success", async () => {
    const { clock, health } = setup();
    health.failed({ isLast: false });
    health.failed({ isLast: false });
    await clock.advance(5);
    expect(record(health)).toMatchObject({
      failuresInRow: 2,
      isHealthy: true,
      lastCheckAt: 1_700_000_000_000,
    });
    health.succeeded();
    expect(record(health)).toMatchObject({ failuresInRow: 0, lastCheckAt: 1_700_000_000_005 });
  });

  it("ejects for 30, 60, 90 ... up to 300 s when each trial fails", async () => {
    const { clock, health } = setup();
    health.failed({ isLast: false });
    health.failed({ isLast: false });
    const lengths = [health.failed({ isLast: false })];
    for (let trial = 0; trial < 11; trial += 1) {
      expect(health.eligibility).toBe("unwell");
      await clock.advance((lengths.at(-1) ?? 0) - 1);
      expect(health.eligibility).toBe("unwell");
      await clock.advance(1);
      expect(health.eligibility).toBe("trial");
      health.beginTrial();
      expect(health.eligibility).toBe("unwell");
      lengths.push(health.failed({ isLast: false }));
    }
    expect(lengths.map((ms) => (ms ?? 0) / 1_000)).toEqual([
      30, 60, 90, 120, 150, 180, 210, 240, 270, 300, 300, 300,
    ]);
  });

  it("is well again after one trial that succeeds, and starts from 30 s only after it was well for long", async () => {
    const { clock, health } = setup({ failuresInRowMax: 1 });
    health.failed({ isLast: false });
    await clock.advance(30_000);
    health.beginTrial();
    expect(health.succeeded()).toBe(true);
    expect(health.eligibility).toBe("eligible");
    expect(health.failed({ isLast: false })).toBe(60_000);
    await clock.advance(60_000);
    health.beginTrial();
    health.succeeded();
    await clock.advance(300_000);
    expect(health.succeeded()).toBe(false);
    expect(health.failed({ isLast: false })).toBe(30_000);
  });

  it("lets another call be the trial when one is given up without a verdict", async () => {
    const { clock, health } = setup({ failuresInRowMax: 1 });
    health.failed({ isLast: false });
    await clock.advance(30_000);
    health.beginTrial();
    health.abandonTrial();
    expect(health.eligibility).toBe("trial");
  });

  it("learns nothing from calls that began before the ejection", () => {
    const { health } = setup({ failuresInRowMax: 1 });
    expect(health.failed({ isLast: false })).toBe(30_000);
    expect(health.failed({ isLast: false })).toBeUndefined();
    expect(record(health).ejectionCount).toBe(1);
  });

  it("ejects for a bad share of enough calls, unless it is the last one left", () => {
    const shareOf = (failures: number, calls: number, isLast: boolean): boolean => {
      const { health } = setup({ failuresInRowMax: 1_000 });
      for (let call = 0; call < calls - failures; call += 1) health.succeeded();
      let isEjected = false;
      for (let call = 0; call < failures; call += 1)
        isEjected = health.failed({ isLast }) !== undefined || isEjected;
      return isEjected;
    };
    expect(shareOf(17, 20, false)).toBe(true);
    expect(shareOf(16, 20, false)).toBe(false);
    expect(shareOf(18, 19, false)).toBe(false);
    expect(shareOf(20, 20, true)).toBe(false);
  });

  it("looks at the share of one window only", async () => {
    const { clock, health } = setup({ failuresInRowMax: 1_000 });
    for (let call = 0; call < 19; call += 1) health.failed({ isLast: false });
    await clock.advance(10_000);
    for (let call = 0; call < 19; call += 1) expect(health.failed({ isLast: false })).toBeUndefined();
    expect(health.failed({ isLast: false })).toBe(30_000);
  });

  it("stays held through successes and failures, until it is released", () => {
    const { health } = setup();
    health.hold();
    health.succeeded();
    expect(health.eligibility).toBe("held");
    expect(record(health)).toMatchObject({ isHealthy: false, isHeld: true, isObservedHealthy: true });
    health.release();
    expect(record(health)).toMatchObject({ isHealthy: true, failuresInRow: 0 });
  });

  it("rests for a second after a goodbye, which is no failure", async () => {
    const { clock, health } = setup();
    health.rest();
    expect(health.eligibility).toBe("unwell");
    expect(record(health)).toMatchObject({ failuresInRow: 0, ejectionCount: 0 });
    await clock.advance(1_000);
    expect(health.eligibility).toBe("trial");
  });

  it.each([
    Number.NaN,
    0,
    -0.1,
    1.1,
    Number.POSITIVE_INFINITY,
  ])("refuses %d as the share of failures that ejects", (failureShareMax) => {
    expect(() => healthSettingsOf({ failureShareMax })).toThrowError(
      expect.objectContaining({ code: "KERNEL_INVALID_INPUT", field: "health.failureShareMax" }),
    );
  });
});
