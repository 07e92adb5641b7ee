import { type Clock, OverloadedError, seededRandom } from "@holdfast/kernel";
import { VirtualClock } from "@holdfast/kernel/testing";
import { describe, expect, it } from "vitest";
import { Bulkhead, type BulkheadOptions } from "./bulkhead.ts";

const setup = (options: Partial<BulkheadOptions> = {}) => {
  const clock = new VirtualClock();
  const bulkhead = new Bulkhead({ concurrencyMaxCount: 2, clock, ...options });
  const conserved = () => {
    const stats = bulkhead.stats;
    expect(stats.callCount).toBe(
      stats.successCount +
        stats.failureCount +
        stats.rejectedCount +
        stats.abortedWaitCount +
        stats.waitingCount +
        stats.inFlightCount,
    );
    return stats;
  };
  return { clock, bulkhead, conserved };
};

describe("Bulkhead under work that holds up the event loop", () => {
  it("serves nobody whose wait was over before, although no timer could fire", async () => {
    let now = 0;
    const clock = {
      ...new VirtualClock(),
      monotonicNow: () => now,
      schedule: () => ({ cancel: () => undefined }),
    };
    const bulkhead = new Bulkhead({
      concurrencyMaxCount: 1,
      waiterMaxCount: 10,
      waitMaxMs: 100,
      clock: clock as unknown as Clock,
    });
    const served: number[] = [];
    const calls = [0, 1, 2, 3, 4].map((number) =>
      bulkhead.execute(async () => {
        served.push(number);
        now += 40;
      }),
    );
    const ends = await Promise.allSettled(calls);
    // The first holds things up until 40; the others wait from there on, and may until 140.
    expect(served).toEqual([0, 1, 2, 3]);
    expect(ends.map(({ status }) => status)).toEqual([
      "fulfilled",
      "fulfilled",
      "fulfilled",
      "fulfilled",
      "rejected",
    ]);
    expect(bulkhead.stats).toMatchObject({
      successCount: 4,
      rejectedCount: 1,
      waitingCount: 0,
      inFlightCount: 0,
    });
  });
});

describe("Bulkhead", () => {
  it("refuses a call beyond the limit at once when nobody may wait", async () => {
    const { clock, bulkhead, conserved } = setup();
    const rejected: unknown[] = [];
    bulkhead.events.on("rejected", ({ error }) => rejected.push(error));
    const running = [1, 2].map(() => bulkhead.execute(() => clock.sleep(10)));
    await expect(bulkhead.execute(() => "never")).rejects.toBeInstanceOf(OverloadedError);
    expect(rejected).toHaveLength(1);
    expect(conserved()).toMatchObject({ inFlightCount: 2, rejectedCount: 1 });
    await clock.advance(10);
    await Promise.all(running);
    await expect(bulkhead.execute(() => "now")).resolves.toBe("now");
    conserved();
  });

  it("serves waiters first come first served, also before a newcomer", async () => {
    const { clock, bulkhead, conserved } = setup({ concurrencyMaxCount: 1, waiterMaxCount: 5 });
    const order: string[] = [];
    const call = (name: string) =>
      bulkhead.execute(async () => {
        order.push(name);
        await clock.sleep(10);
      });
    const calls = [call("a"), call("b"), call("c")];
    await clock.advance(10);
    calls.push(call("d"));
    await clock.advance(100);
    await Promise.all(calls);
    expect(order).toEqual(["a", "b", "c", "d"]);
    expect(conserved()).toMatchObject({ successCount: 4, waitingCount: 0 });
    expect(clock.pendingCount).toBe(0);
  });

  it("refuses a waiter too many and a waiter whose time is over", async () => {
    const { clock, bulkhead, conserved } = setup({
      concurrencyMaxCount: 1,
      waiterMaxCount: 1,
      waitMaxMs: 50,
    });
    const running = bulkhead.execute(() => clock.sleep(100));
    const waiting = expect(bulkhead.execute(() => "never")).rejects.toBeInstanceOf(OverloadedError);
    await expect(bulkhead.execute(() => "never")).rejects.toBeInstanceOf(OverloadedError);
    await clock.advance(50);
    await waiting;
    expect(conserved()).toMatchObject({ rejectedCount: 2, waitingCount: 0, inFlightCount: 1 });
    await clock.advance(50);
    await running;
  });

  it("takes an aborted waiter out of the line and leaks no slot", async () => {
    const { clock, bulkhead, conserved } = setup({ concurrencyMaxCount: 1, waiterMaxCount: 5 });
    const running = bulkhead.execute(() => clock.sleep(10));
    const controller = new AbortController();
    const waiting = bulkhead.execute(() => "never", { signal: controller.signal });
    controller.abort(new Error("gone"));
    expect(conserved()).toMatchObject({ abortedWaitCount: 1, waitingCount: 0 });
    await expect(waiting).rejects.toThrow("gone");
    await clock.advance(10);
    await running;
    expect(conserved().inFlightCount).toBe(0);
  });

  it("gives the slot back when a waiter is aborted between its turn and its start", async () => {
    const { clock, bulkhead, conserved } = setup({ concurrencyMaxCount: 1, waiterMaxCount: 1 });
    const controller = new AbortController();
    const running = bulkhead.execute(async () => {
      await clock.sleep(10);
    });
    const waiting = bulkhead.execute(() => "never", { signal: controller.signal });
    const rejection = expect(waiting).rejects.toThrow("gone");
    running.then(() => controller.abort(new Error("gone")));
    await clock.advance(10);
    await rejection;
    expect(conserved().inFlightCount).toBe(0);
    await expect(bulkhead.execute(() => "free")).resolves.toBe("free");
  });

  it("never exceeds its limit under any load", async () => {
    const { clock, bulkhead, conserved } = setup({
      concurrencyMaxCount: 3,
      waiterMaxCount: 10,
      waitMaxMs: 40,
    });
    const random = seededRandom(2);
    let running = 0;
    const calls = Array.from({ length: 300 }, async () => {
      await clock.sleep(random.next() * 500);
      const controller = new AbortController();
      if (random.next() < 0.2) clock.schedule(random.next() * 30, () => controller.abort(new Error("gone")));
      await bulkhead
        .execute(
          async () => {
            running += 1;
            expect(running).toBeLessThanOrEqual(3);
            try {
              await clock.sleep(random.next() * 20);
              if (random.next() < 0.3) throw new Error("down");
            } finally {
              running -= 1;
            }
          },
          // The body ignores the abort, so only calls that wait are aborted here.
          bulkhead.stats.inFlightCount >= 3 ? { signal: controller.signal } : undefined,
        )
        .catch(() => undefined);
    });
    for (let step = 0; step < 60; step += 1) {
      await clock.advance(10);
      conserved();
    }
    await Promise.all(calls);
    const stats = conserved();
    expect(stats).toMatchObject({ callCount: 300, inFlightCount: 0, waitingCount: 0 });
    expect(Math.min(stats.rejectedCount, stats.abortedWaitCount, stats.failureCount)).toBeGreaterThan(0);
  });

  it("refuses numbers out of range, naming them", () => {
    expect(() => setup({ concurrencyMaxCount: 0 })).toThrow(/bulkhead.concurrencyMaxCount/);
    expect(() => setup({ waiterMaxCount: -1 })).toThrow(/bulkhead.waiterMaxCount/);
    expect(() => setup({ waitMaxMs: Number.NaN })).toThrow(/bulkhead.waitMaxMs/);
  });
});
