import { deferred } from "@holdfast/kernel";
import { describe, expect, it } from "vitest";
import { expectLaw, setUpBus } from "../testing/bus-fixtures.ts";
import type { BusEvent } from "./bus-event.ts";

describe("an event", () => {
  it("has empty data also for null, normal priority, is not critical, and knows when it was made", async () => {
    const { bus, clock, settle } = setUpBus();
    const events: BusEvent[] = [];
    bus.subscribe("nothing", (event) => events.push(event));
    bus.start();
    await clock.advance(5);
    await bus.publish("nothing", null);
    await bus.publish("nothing", undefined);
    await settle();
    expect(events).toHaveLength(2);
    for (const event of events) {
      expect(event).toMatchObject({ type: "nothing", data: {}, priority: "normal", isCritical: false });
      expect(event.createdAt).toBe(clock.wallNow());
    }
  });

  it("keeps priority and the critical flag apart", async () => {
    const { bus } = setUpBus();
    const events: BusEvent[] = [];
    bus.subscribe("a", (event) => events.push(event));
    const low = bus.deliver("a", {}, { priority: "low" });
    await bus.publish("a", {}, { priority: "critical" });
    await bus.publish("a", {}, { priority: "high" });
    bus.start();
    await low;
    expect(events.map(({ priority, isCritical }) => [priority, isCritical])).toEqual([
      ["critical", false],
      ["high", false],
      ["low", true],
    ]);
  });
});

describe("the bus", () => {
  it("counts subscriptions, and is unmoved by types and handlers that it does not know", async () => {
    const { bus, note, seen, settle } = setUpBus();
    expect(bus.subscriberCount("unknown")).toBe(0);
    expect(bus.stats().subscriptions).toEqual([]);
    bus.start();
    bus.subscribe("a", note);
    const second = bus.subscribe("a", note, { name: "second" });
    expect(bus.subscriberCount("a")).toBe(2);
    await bus.publish("a", { n: 1 });
    await settle();
    expect(seen).toEqual([1, 1]);
    expect(bus.unsubscribe("b", note)).toBe(false);
    expect(bus.unsubscribe("a", () => undefined)).toBe(false);
    expect(bus.unsubscribe("a", note)).toBe(true);
    expect(bus.subscriberCount("a")).toBe(1);
    await bus.publish("a", { n: 2 });
    await settle();
    expect(seen).toEqual([1, 1, 2]);
    expect(bus.unsubscribe("a", second)).toBe(true);
    expect(bus.subscriberCount("a")).toBe(0);
  });

  it("calls every handler of a type once, side by side, with the very data that was published", async () => {
    const { bus, settle } = setUpBus();
    const gate = deferred<void>();
    const data = { n: 1 };
    const got: unknown[] = [];
    for (let index = 0; index < 3; index += 1) {
      bus.subscribe("a", async (event) => {
        got.push(event.data);
        await gate.promise;
      });
    }
    bus.start();
    await bus.publish("a", data);
    await settle();
    expect(got).toHaveLength(3);
    for (const each of got) expect(each).toBe(data);
    expect(bus.stats().inFlight).toBe(1);
    gate.resolve();
    await settle();
    expect(bus.stats()).toMatchObject({ inFlight: 0, processed: 1 });
  });

  it("counts an event that nobody wants as unrouted", async () => {
    const { bus, settle } = setUpBus();
    bus.start();
    await bus.publish("a", {});
    await settle();
    expect(bus.stats()).toMatchObject({ published: 1, processed: 0, unrouted: 1 });
    expect(await bus.deliver("a", {})).toMatchObject({ handlerCount: 0, failures: [] });
    expectLaw(bus);
  });
});

describe("the statistics of a bus", () => {
  it("add up at every moment, and are a copy", async () => {
    const { bus, clock } = setUpBus({ capacity: 20, overflow: "drop-oldest" });
    bus.subscribe("a", () => clock.sleep(7), { inboxMaxCount: 5, timeoutMs: 5 });
    bus.subscribe("a", ({ data }) => {
      if ((data.n ?? 0) % 3 === 0) throw new Error("third");
    });
    bus.start();
    const before = bus.stats();
    for (let n = 0; n < 200; n += 1) {
      await bus.publish(n % 5 === 0 ? "b" : "a", { n }, { priority: n % 2 === 0 ? "low" : "high" });
      expectLaw(bus);
      if (n % 30 === 0) await clock.advance(2);
      expectLaw(bus);
    }
    await clock.advance(1000);
    expectLaw(bus);
    expect(before.published).toBe(0);
    expect(bus.stats()).toMatchObject({ published: 200, queued: 0, inFlight: 0 });
  });
});
