import { TimeoutError } from "@holdfast/kernel";
import { describe, expect, it } from "vitest";
import { EventBusFullError } from "../errors.ts";
import { expectLaw, setUpBus } from "../testing/bus-fixtures.ts";

describe("a full bus", () => {
  it("refuses an event that is not critical, by name, and counts it", async () => {
    const { bus } = setUpBus({ capacity: 2 });
    await bus.publish("a", {});
    await bus.publish("a", {});
    await expect(bus.publish("a", {})).rejects.toThrow(EventBusFullError);
    expect(bus.stats()).toMatchObject({ published: 2, rejected: 1, dropped: 1, queued: 2 });
    expectLaw(bus);
  });

  it("takes critical events into its headroom, and then refuses them by their deadline", async () => {
    const { bus, clock } = setUpBus({ capacity: 4 });
    for (let n = 0; n < 4; n += 1) await bus.publish("a", {});
    const taken = bus.deliver("a", {});
    const startedAt = clock.monotonicNow();
    const refused = expect(bus.deliver("a", {}, { waitMs: 700 })).rejects.toThrow(EventBusFullError);
    await clock.advance(700);
    await refused;
    expect(clock.monotonicNow() - startedAt).toBe(700);
    const admitted = bus.deliver("a", {}, { waitMs: 700 });
    bus.start();
    await clock.advance(1);
    await Promise.all([taken, admitted]);
    expectLaw(bus);
  });

  it("never keeps a sender waiting longer than it said, even when it is never started", async () => {
    const { bus, clock } = setUpBus();
    const late = expect(bus.deliver("a", {}, { timeoutMs: 300 })).rejects.toThrow(TimeoutError);
    await clock.advance(300);
    await late;
    const controller = new AbortController();
    const aborted = bus.deliver("a", {}, { signal: controller.signal });
    controller.abort(new Error("enough"));
    await expect(aborted).rejects.toThrow("enough");
    expect(bus.stats().queued).toBe(2);
  });

  it.each([
    "reject",
    "drop-oldest",
    "wait",
  ] as const)("loses no count of 100 events in 10 places (%s)", async (overflow) => {
    for (const isRunning of [true, false]) {
      const { bus, clock, seen, note } = setUpBus({ capacity: 10, overflow, waiterMaxCount: 50 });
      bus.subscribe("a", note);
      if (isRunning) bus.start();
      const published = Promise.allSettled(
        Array.from({ length: 100 }, (_, n) => bus.publish("a", { n }, { waitMs: 1000 })),
      );
      await clock.advance(1000);
      bus.start();
      await clock.advance(0);
      const refused = (await published).filter(({ status }) => status === "rejected").length;
      const { dropped, evicted } = bus.stats();
      expect(refused + evicted).toBe(dropped);
      expect(seen.length + dropped).toBe(100);
      expect(seen.length).toBe(overflow === "wait" && isRunning ? 60 : 10);
      expect(seen.at(-1)).toBe(overflow === "drop-oldest" ? 99 : overflow === "wait" && isRunning ? 59 : 9);
      expectLaw(bus);
      expect(clock.pendingCount).toBe(0);
    }
  });

  it("gives up the oldest of the least urgent events, and never a critical one", async () => {
    const { bus, seen, note, settle } = setUpBus({ capacity: 3, overflow: "drop-oldest" });
    bus.subscribe("a", note);
    const critical = bus.deliver("a", { n: 1 }, { priority: "low" });
    await bus.publish("a", { n: 2 }, { priority: "high" });
    await bus.publish("a", { n: 3 });
    await bus.publish("a", { n: 4 });
    await bus.publish("a", { n: 5 }, { priority: "high" });
    bus.start();
    await settle();
    expect((await critical).failures).toEqual([]);
    expect(seen).toEqual([2, 5, 1]);
  });

  it("lets those who wait in by their turn, and forgets who gave up", async () => {
    const { bus, clock, seen, note } = setUpBus({ capacity: 1, overflow: "wait" });
    bus.subscribe("a", note);
    await bus.publish("a", { n: 1 });
    const controller = new AbortController();
    const gaveUp = bus.publish("a", { n: 2 }, { signal: controller.signal });
    const second = bus.publish("a", { n: 3 });
    const third = bus.publish("a", { n: 4 });
    controller.abort(new Error("enough"));
    await expect(gaveUp).rejects.toThrow("enough");
    bus.start();
    await clock.advance(0);
    await Promise.all([second, third]);
    expect(seen).toEqual([1, 3, 4]);
    expect(bus.stats().waiting).toBe(0);
  });
});
