import { InvalidInputError } from "@holdfast/kernel";
import { describe, expect, it } from "vitest";
import { expectLaw, setUpBus } from "../testing/bus-fixtures.ts";

describe("priorities", () => {
  it("that do not exist are refused by name, and count for nothing", async () => {
    const { bus } = setUpBus();
    for (const priority of ["urgent", "toString"] as never[]) {
      await expect(bus.publish("a", {}, { priority })).rejects.toThrow(InvalidInputError);
      await expect(bus.deliver("a", {}, { priority })).rejects.toThrow(/priority must be one of/);
    }
    expect(bus.stats()).toMatchObject({ published: 0, queued: 0 });
    expectLaw(bus);
  });

  it("decide the order of what was published together", async () => {
    const { bus, settle } = setUpBus();
    const order: string[] = [];
    bus.subscribe("a", ({ priority }) => order.push(priority));
    bus.start();
    const priorities = ["low", "critical", "normal", "high"] as const;
    await Promise.all(priorities.map((priority) => bus.publish("a", {}, { priority })));
    await settle();
    expect(order).toEqual(["critical", "high", "normal", "low"]);
  });

  it("keep the order of publishing among equals, also when the wall clock goes back", async () => {
    const { bus, clock, seen, note, settle } = setUpBus();
    bus.subscribe("a", note);
    for (let n = 0; n < 100; n += 1) {
      if (n === 50) clock.jumpWall(-60_000);
      await bus.publish("a", { n });
    }
    bus.start();
    await settle();
    expect(seen).toEqual(Array.from({ length: 100 }, (_, n) => n));
  });

  it("let low events through under a load of critical ones that never ends", async () => {
    const { bus, clock } = setUpBus();
    let criticalCount = 0;
    let lowCount = 0;
    bus.subscribe("a", () => {
      criticalCount += 1;
      return bus.publish("a", {}, { priority: "critical" });
    });
    bus.subscribe("b", () => {
      lowCount += 1;
    });
    for (let n = 0; n < 100; n += 1) await bus.publish("a", {}, { priority: "critical" });
    for (let n = 0; n < 50; n += 1) await bus.publish("b", {}, { priority: "low" });
    bus.start();
    await clock.advance(1);
    expect(lowCount).toBe(50);
    expect(criticalCount).toBeGreaterThan(100);
    expectLaw(bus);
  });
});
