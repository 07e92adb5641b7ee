import { ClosedError, deferred, TimeoutError } from "@holdfast/kernel";
import { VirtualClock } from "@holdfast/kernel/testing";
import { describe, expect, it } from "vitest";
import { EventBusFullError, InboxFullError } from "../errors.ts";
import type { BusEvent, HandlerFailure } from "./bus-event.ts";
import type { EventBusOptions } from "./bus-options.ts";
import { EventBus } from "./event-bus.ts";

type Events = { a: { readonly n?: number }; b: { readonly n?: number }; nothing: Record<never, never> };

const setUp = (options: EventBusOptions = {}) => {
  const clock = new VirtualClock();
  const failures: HandlerFailure[] = [];
  const bus = new EventBus<Events>({ clock, onError: (failure) => failures.push(failure), ...options });
  const seen: (number | undefined)[] = [];
  const note = (event: BusEvent<"a" | "b", { readonly n?: number }>): void => {
    seen.push(event.data.n);
  };
  return { clock, bus, failures, seen, note, settle: () => clock.advance(0) };
};

const expectLaw = (bus: EventBus<Events>): void => {
  const { published, processed, unrouted, queued, inFlight, evicted, rejected, dropped, subscriptions } =
    bus.stats();
  expect(published).toBe(processed + unrouted + queued + inFlight + evicted);
  expect(dropped).toBe(evicted + rejected);
  for (const each of subscriptions) {
    expect(each.received).toBe(
      each.succeeded + each.failed + each.timedOut + each.dropped + each.running + each.waiting,
    );
  }
};

describe("an event", () => {
  it("has empty data also for null, normal priority, is not critical, and knows when it was made", async () => {
    const { bus, clock, settle } = setUp();
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
    const { bus } = setUp();
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
  it("may be started and stopped again and again", async () => {
    const { bus, seen, note, settle } = setUp();
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
    const { bus, seen, note, settle } = setUp();
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
    const { bus, clock, settle } = setUp();
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
    const { bus, clock } = setUp();
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

  it("counts subscriptions, and is unmoved by types and handlers that it does not know", async () => {
    const { bus, note, seen, settle } = setUp();
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
    const { bus, settle } = setUp();
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
    const { bus, settle } = setUp();
    bus.start();
    await bus.publish("a", {});
    await settle();
    expect(bus.stats()).toMatchObject({ published: 1, processed: 0, unrouted: 1 });
    expect(await bus.deliver("a", {})).toMatchObject({ handlerCount: 0, failures: [] });
    expectLaw(bus);
  });
});

describe("priorities", () => {
  it("decide the order of what was published together", async () => {
    const { bus, settle } = setUp();
    const order: string[] = [];
    bus.subscribe("a", ({ priority }) => order.push(priority));
    bus.start();
    const priorities = ["low", "critical", "normal", "high"] as const;
    await Promise.all(priorities.map((priority) => bus.publish("a", {}, { priority })));
    await settle();
    expect(order).toEqual(["critical", "high", "normal", "low"]);
  });

  it("keep the order of publishing among equals, also when the wall clock goes back", async () => {
    const { bus, clock, seen, note, settle } = setUp();
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
    const { bus, clock } = setUp();
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

describe("a full bus", () => {
  it("refuses an event that is not critical, by name, and counts it", async () => {
    const { bus } = setUp({ capacity: 2 });
    await bus.publish("a", {});
    await bus.publish("a", {});
    await expect(bus.publish("a", {})).rejects.toThrow(EventBusFullError);
    expect(bus.stats()).toMatchObject({ published: 2, rejected: 1, dropped: 1, queued: 2 });
    expectLaw(bus);
  });

  it("takes critical events into its headroom, and then refuses them by their deadline", async () => {
    const { bus, clock } = setUp({ capacity: 4 });
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
    const { bus, clock } = setUp();
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
      const { bus, clock, seen, note } = setUp({ capacity: 10, overflow, waiterMaxCount: 50 });
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
    const { bus, seen, note, settle } = setUp({ capacity: 3, overflow: "drop-oldest" });
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
    const { bus, clock, seen, note } = setUp({ capacity: 1, overflow: "wait" });
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

describe("a subscription", () => {
  it("with concurrency 1 finishes slow events in order; with more it handles so many at a time", async () => {
    const { bus, clock } = setUp();
    const ended: number[] = [];
    let runningMax = 0;
    let running = 0;
    bus.subscribe("a", async ({ data }) => {
      await clock.sleep(100 - 20 * (data.n ?? 0));
      ended.push(data.n ?? -1);
    });
    bus.subscribe(
      "a",
      async () => {
        running += 1;
        runningMax = Math.max(runningMax, running);
        await clock.sleep(10);
        running -= 1;
      },
      { concurrencyMaxCount: 2 },
    );
    bus.start();
    for (const n of [0, 1, 2, 3]) await bus.publish("a", { n });
    await clock.advance(1000);
    expect(ended).toEqual([0, 1, 2, 3]);
    expect(runningMax).toBe(2);
  });

  it("that is stuck delays nobody; its time ends, its signal aborts, and it goes on with the next", async () => {
    const { bus, clock, seen, note, failures } = setUp();
    const signals: AbortSignal[] = [];
    bus.subscribe(
      "a",
      (_event, { signal }) => {
        signals.push(signal);
        return new Promise(() => undefined);
      },
      { timeoutMs: 500, name: "stuck" },
    );
    bus.subscribe("a", note);
    bus.subscribe("b", note);
    bus.start();
    for (const n of [1, 2, 3]) {
      await bus.publish("a", { n });
      await bus.publish("b", { n: 10 * n });
    }
    await clock.advance(499);
    expect(seen).toEqual([1, 10, 2, 20, 3, 30]);
    expect(signals.map(({ aborted }) => aborted)).toEqual([false]);
    await clock.advance(33);
    expect(signals.map(({ aborted }) => aborted)).toEqual([true, false]);
    await clock.advance(1064);
    expect(failures.map(({ subscription, error }) => [subscription, error instanceof TimeoutError])).toEqual(
      [1, 2, 3].map(() => ["stuck", true]),
    );
    expect(bus.stats().subscriptions[0]).toMatchObject({ timedOut: 3, running: 0, waiting: 0 });
    expectLaw(bus);
  });

  it("loses what its full inbox cannot hold, alone, and says so", async () => {
    for (const overflow of ["drop-newest", "drop-oldest"] as const) {
      const { bus, clock, seen, note, failures } = setUp();
      const handled: (number | undefined)[] = [];
      bus.subscribe(
        "a",
        async ({ data }) => {
          await clock.sleep(10);
          handled.push(data.n);
        },
        { inboxMaxCount: 2, overflow },
      );
      bus.subscribe("a", note);
      bus.start();
      for (const n of [0, 1, 2, 3, 4]) await bus.publish("a", { n });
      const critical = bus.deliver("a", { n: 5 });
      await clock.advance(1000);
      expect(seen).toEqual([0, 1, 2, 3, 4, 5]);
      expect(handled).toEqual(overflow === "drop-newest" ? [0, 1, 2, 5] : [0, 3, 4, 5]);
      expect(failures.map(({ error }) => error)).toEqual([
        expect.any(InboxFullError),
        expect.any(InboxFullError),
      ]);
      expect((await critical).failures).toEqual([]);
      expectLaw(bus);
    }
  });

  it("that throws, plainly or later, stops no other; every failure is counted and told", async () => {
    const { bus, seen, note, failures, settle } = setUp();
    const own: unknown[] = [];
    bus.subscribe(
      "a",
      () => {
        throw new Error("plain");
      },
      {
        onError: ({ error }) => {
          own.push(error);
          throw new Error("the hook, too");
        },
      },
    );
    bus.subscribe("a", async () => Promise.reject(new Error("later")));
    bus.subscribe("a", note);
    bus.start();
    await bus.publish("a", { n: 1 });
    await bus.publish("a", { n: 2 });
    await settle();
    expect(seen).toEqual([1, 2]);
    expect(own).toHaveLength(2);
    expect(failures.map(({ error }) => (error as Error).message).sort()).toEqual([
      "later",
      "later",
      "plain",
      "plain",
    ]);
    expect(bus.stats().subscriptions.map(({ failed }) => failed)).toEqual([2, 2, 0]);
    expectLaw(bus);
  });
});

describe("the sender of a critical event", () => {
  it("hears of it when all handlers have settled; others do not wait", async () => {
    const { bus, clock, settle } = setUp();
    const gate = deferred<void>();
    bus.subscribe("a", () => gate.promise);
    bus.subscribe("a", () => Promise.reject(new Error("no")), { name: "broken" });
    bus.start();
    await bus.publish("a", {});
    let isConfirmed = false;
    const confirmed = bus.deliver("a", {}).then((delivery) => {
      isConfirmed = true;
      return delivery;
    });
    await clock.advance(1000);
    expect(isConfirmed).toBe(false);
    gate.resolve();
    await settle();
    expect(await confirmed).toMatchObject({
      handlerCount: 2,
      failures: [{ subscription: "broken", error: new Error("no") }],
    });
  });
});

describe("statistics", () => {
  it("add up at every moment, and are a copy", async () => {
    const { bus, clock } = setUp({ capacity: 20, overflow: "drop-oldest" });
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
