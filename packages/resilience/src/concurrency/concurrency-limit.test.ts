import { OverloadedError, seededRandom, TimeoutError } from "@holdfast/kernel";
import { VirtualClock } from "@holdfast/kernel/testing";
import { describe, expect, it } from "vitest";
import { ConcurrencyLimit, type ConcurrencyLimitOptions } from "./concurrency-limit.ts";

const setup = (options: ConcurrencyLimitOptions = {}) => {
  const clock = new VirtualClock();
  const limit = new ConcurrencyLimit({ clock, initialLimit: 10, ...options });
  /** Starts so many calls at once, which all take 10 ms and end as told. */
  const burst = async (count: number, end: () => unknown = () => undefined) => {
    const calls = Array.from({ length: count }, () =>
      limit.execute(async () => {
        await clock.sleep(10);
        end();
      }),
    );
    const settled = Promise.allSettled(calls);
    await clock.advance(10);
    return settled;
  };
  return { clock, limit, burst };
};

const timeOut = () => {
  throw new TimeoutError("x", 10);
};

describe("ConcurrencyLimit", () => {
  it("refuses calls beyond the limit", async () => {
    const { limit, burst } = setup();
    const results = await burst(12);
    expect(results.filter((result) => result.status === "rejected")).toHaveLength(2);
    expect(limit.stats).toMatchObject({ rejectedCount: 2, successCount: 10 });
  });

  it("rises by one with each full round of successes and reports it", async () => {
    const { limit, burst } = setup();
    const changes: number[] = [];
    limit.events.on("limitChanged", ({ to }) => changes.push(to));
    for (let round = 0; round < 4; round += 1) await burst(limit.stats.limit);
    // The last few of each round no longer use half of the limit, so a step takes a little over a round.
    expect(limit.stats.limit).toBeGreaterThan(11);
    expect(limit.stats.limit).toBeLessThanOrEqual(14);
    expect(changes).toEqual(Array.from({ length: changes.length }, (_, index) => 11 + index));
    expect(limit.stats.raisedCount).toBe(changes.length);
  });

  it("does not rise while hardly used", async () => {
    const { limit, burst } = setup();
    for (let round = 0; round < 100; round += 1) await burst(2);
    expect(limit.stats.limit).toBe(10);
  });

  it("falls once for one burst of timeouts, and again for the next", async () => {
    const { limit, burst } = setup({ initialLimit: 100 });
    await burst(100, timeOut);
    expect(limit.stats).toMatchObject({ limit: 90, loweredCount: 1, failureCount: 100 });
    await burst(90, timeOut);
    expect(limit.stats.limit).toBe(81);
  });

  it("falls on slow successes when told what slow is, and on what the caller calls overload", async () => {
    const slow = setup({ latencyMaxMs: 9 });
    await slow.burst(1);
    expect(slow.limit.stats.limit).toBe(9);
    const own = setup({ isOverload: (error) => error instanceof RangeError });
    await own.burst(1, timeOut);
    expect(own.limit.stats.limit).toBe(10);
    await own.burst(1, () => {
      throw new RangeError("busy");
    });
    expect(own.limit.stats.limit).toBe(9);
  });

  it("does not take plain failures and aborted callers for overload", async () => {
    const { limit, burst } = setup();
    await burst(5, () => {
      throw new Error("not found");
    });
    const controller = new AbortController();
    const call = limit.execute(() => new Promise(() => undefined), { signal: controller.signal });
    controller.abort(new OverloadedError("caller", 1));
    await expect(call).rejects.toBeInstanceOf(OverloadedError);
    expect(limit.stats.limit).toBe(10);
  });

  it("keeps its slots when the caller's judgement of an error throws, and takes that error for no overload", async () => {
    const { limit } = setup({
      initialLimit: 2,
      isOverload: (error) => (error as { status: number }).status === 503,
    });
    for (let call = 0; call < 5; call += 1)
      await expect(limit.execute(() => Promise.reject(undefined))).rejects.toBeUndefined();
    expect(limit.stats).toMatchObject({ failureCount: 5, inFlightCount: 0, limit: 2, rejectedCount: 0 });
  });

  it("stays within its bounds and never lets more in than the limit", async () => {
    const { clock, limit } = setup({ initialLimit: 5, minLimit: 2, maxLimit: 8, waiterMaxCount: 50 });
    const random = seededRandom(4);
    const calls = Array.from({ length: 500 }, async (_, index) => {
      await clock.sleep(random.next() * 2_000);
      await limit
        .execute(async () => {
          expect(limit.stats.inFlightCount).toBeLessThanOrEqual(8);
          await clock.sleep(random.next() * 20);
          if (index % 7 === 0) timeOut();
        })
        .catch(() => undefined);
    });
    for (let step = 0; step < 100; step += 1) {
      await clock.advance(50);
      const stats = limit.stats;
      expect(stats.limit).toBeGreaterThanOrEqual(2);
      expect(stats.limit).toBeLessThanOrEqual(8);
      expect(stats.callCount).toBe(
        stats.successCount +
          stats.failureCount +
          stats.rejectedCount +
          stats.abortedWaitCount +
          stats.waitingCount +
          stats.inFlightCount,
      );
    }
    await Promise.all(calls);
    expect(limit.stats.raisedCount).toBeGreaterThan(0);
    expect(limit.stats.loweredCount).toBeGreaterThan(0);
  });

  it.each([
    ["concurrencyLimit.minLimit", { minLimit: 0 }],
    ["concurrencyLimit.maxLimit", { minLimit: 5, maxLimit: 4 }],
    ["concurrencyLimit.initialLimit", { initialLimit: 2_000 }],
    ["concurrencyLimit.decreaseFactor", { decreaseFactor: 1 }],
    ["concurrencyLimit.latencyMaxMs", { latencyMaxMs: 0 }],
  ] satisfies [
    string,
    ConcurrencyLimitOptions,
  ][])("refuses a wrong %s at creation, naming it", (field, options) => {
    expect(() => new ConcurrencyLimit(options)).toThrow(expect.objectContaining({ field }));
  });
});
