import { ClosedError } from "@holdfast/kernel";
import { describe, expect, it } from "vitest";
import { expectLaw, setUpBus } from "../testing/bus-fixtures.ts";

describe("a bus that is stopped", () => {
  it("may be started and stopped again and again", async () => {
    const { bus, seen, note, settle } = setUpBus();
    bus.subscribe("a", note);
    expect(bus.isRunning).toBe(false);
    await bus.stop();
    bus.start();
    bus.start();
    expect(bus.isRunning).toBe(true);
    await Promise.all([bus.stop(), bus.stop()]);
    expect(bus.isRunning).toBe(false);
    bus.start();
    await bus.publish("a", { n: 1 });
    await settle();
    const stopping = bus.stop();
    bus.start();
    await stopping;
    await bus.publish("a", { n: 2 });
    await settle();
    expect(bus.isRunning).toBe(true);
    expect(seen).toEqual([1, 2]);
  });

  it("keeps what is published while it is stopped, and delivers it after the next start", async () => {
    const { bus, seen, note, settle } = setUpBus();
    bus.subscribe("a", note);
    await bus.publish("a", { n: 1 });
    bus.start();
    await settle();
    await bus.stop();
    await bus.publish("a", { n: 2 });
    await settle();
    expect(seen).toEqual([1]);
    expect(bus.stats().queued).toBe(1);
    bus.start();
    await settle();
    expect(seen).toEqual([1, 2]);
    expectLaw(bus);
  });

  it("delivers what is queued while it stops, critical first, and gives back what it had no time for", async () => {
    const { bus, clock, settle } = setUpBus();
    const started: string[] = [];
    const ended: string[] = [];
    bus.subscribe(
      "a",
      async ({ data, isCritical }) => {
        started.push(`${isCritical ? "critical" : "other"} ${data.n}`);
        await clock.sleep(100);
        ended.push(`${data.n}`);
      },
      { inboxMaxCount: 1, timeoutMs: 10_000 },
    );
    for (const n of [1, 2, 3, 4, 5, 6]) await bus.publish("a", { n });
    const critical = bus.deliver("a", { n: 7 });
    bus.start();
    const stopped = bus.stop({ drainMs: 250 });
    await clock.advance(250);
    const { undelivered, cutShort } = await stopped;
    expect((await critical).failures).toEqual([]);
    expect(started).toEqual(["critical 7", "other 1", "other 2"]);
    expect(ended).toEqual(["7", "1"]);
    expect(cutShort.map(({ data }) => data)).toEqual([{ n: 2 }, { n: 3 }]);
    expect(undelivered.map(({ data }) => data)).toEqual([{ n: 4 }, { n: 5 }, { n: 6 }]);
    await settle();
    expectLaw(bus);
    expect(bus.stats()).toMatchObject({ published: 7, processed: 4, evicted: 3, queued: 0, inFlight: 0 });
  });

  it("tells a waiting sender that its event went back undelivered", async () => {
    const { bus, clock } = setUpBus();
    bus.subscribe("a", () => clock.sleep(10_000), { inboxMaxCount: 1 });
    bus.start();
    for (const n of [1, 2]) await bus.publish("a", { n });
    await clock.advance(0);
    const refused = expect(bus.deliver("a", { n: 3 })).rejects.toThrow(ClosedError);
    const stopped = bus.stop({ drainMs: 10 });
    await clock.advance(10);
    expect((await stopped).undelivered.map(({ data }) => data)).toEqual([{ n: 3 }]);
    await refused;
    expectLaw(bus);
  });

  it("aborts also the handlers of subscriptions that were ended while they ran, and tells of their events", async () => {
    const { bus, clock } = setUpBus();
    const signals: AbortSignal[] = [];
    const subscription = bus.subscribe("a", (_event, { signal }) => {
      signals.push(signal);
      return new Promise(() => undefined);
    });
    bus.start();
    await bus.publish("a", { n: 1 });
    await clock.advance(0);
    bus.unsubscribe("a", subscription);
    const stopped = bus.stop({ drainMs: 100 });
    await clock.advance(100);
    expect((await stopped).cutShort.map(({ data }) => data)).toEqual([{ n: 1 }]);
    expect(signals.map(({ aborted }) => aborted)).toEqual([true]);
    expect(bus.stats()).toMatchObject({ inFlight: 0, processed: 1 });
    expect(clock.pendingCount).toBe(0);
  });
});
