import { TimeoutError } from "@holdfast/kernel";
import { VirtualClock } from "@holdfast/kernel/testing";
import { describe, expect, it } from "vitest";
import { InboxFullError } from "../errors.ts";
import { expectLaw, setUpBus } from "../testing/bus-fixtures.ts";
import { EventBus } from "./event-bus.ts";

describe("a subscription", () => {
  it("with concurrency 1 finishes slow events in order; with more it handles so many at a time", async () => {
    const { bus, clock } = setUpBus();
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
    const { bus, clock, seen, note, failures } = setUpBus();
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
      const { bus, clock, seen, note, failures } = setUpBus();
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
    const { bus, seen, note, failures, settle } = setUpBus();
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

  it("counts a handler whose promise of its own kind throws as failed, once, and keeps its order", async () => {
    const clock = new VirtualClock();
    const bus = new EventBus({ clock });
    const broken = {
      // biome-ignore lint/suspicious/noThenProperty: that is what is tested.
      then: () => {
        throw new Error("broken");
      },
    };
    let runningCount = 0;
    let most = 0;
    const subscription = bus.subscribe(
      "a",
      ({ data }) => {
        if (data === "broken") return broken;
        runningCount += 1;
        most = Math.max(most, runningCount);
        return clock.sleep(10).then(() => {
          runningCount -= 1;
        });
      },
      { timeoutMs: 1000 },
    );
    bus.start();
    await bus.publish("a", "broken");
    await clock.advance(2000);
    expect(subscription.stats()).toMatchObject({ failed: 1, timedOut: 0, running: 0 });
    await bus.publish("a", 1);
    await bus.publish("a", 2);
    await clock.advance(100);
    expect(most).toBe(1);
    expect(subscription.stats()).toMatchObject({ received: 3, succeeded: 2, failed: 1, running: 0 });
    await bus.stop();
  });
});
