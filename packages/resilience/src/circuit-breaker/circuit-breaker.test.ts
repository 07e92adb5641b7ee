import { InvalidInputError, seededRandom } from "@holdfast/kernel";
import { VirtualClock } from "@holdfast/kernel/testing";
import fc from "fast-check";
import { describe, expect, it, vi } from "vitest";
import { CircuitOpenError } from "../errors.ts";
import { CircuitBreaker, type CircuitBreakerOptions } from "./circuit-breaker.ts";

class Unrelated extends Error {}

const setup = (options: CircuitBreakerOptions = {}) => {
  const clock = new VirtualClock();
  const breaker = new CircuitBreaker({
    clock,
    name: "users",
    trip: { mode: "consecutive", failureMaxCount: 3 },
    isFailure: (error) => !(error instanceof Unrelated),
    ...options,
  });
  const states: string[] = [];
  breaker.events.on("stateChanged", ({ from, to }) => states.push(`${from} -> ${to}`));
  const conserved = () => {
    const stats = breaker.stats;
    expect(stats.callCount).toBe(
      stats.successCount +
        stats.failureCount +
        stats.ignoredCount +
        stats.rejectedCount +
        stats.inFlightCount,
    );
    expect(stats.stateChangeCount).toBe(states.length);
    expect(stats.stateChangeCount).toBe(
      stats.openedCount + stats.halfOpenedCount + stats.closedCount + stats.isolatedCount,
    );
    return stats;
  };
  const succeed = (count = 1) => times(count, () => breaker.execute(() => "ok"));
  const fail = (count = 1) => times(count, () => breaker.execute(() => Promise.reject(new Error("down"))));
  return { clock, breaker, states, conserved, succeed, fail };
};

const times = async (count: number, call: () => Promise<unknown>): Promise<void> => {
  for (let index = 0; index < count; index += 1) await call().catch(() => undefined);
};

/** A call that stays under way until it is told how to end. */
const hanging = (breaker: CircuitBreaker) => {
  let end: { resolve: (value: string) => void; reject: (error: Error) => void } | undefined;
  const call = breaker.execute(
    () =>
      new Promise<string>((resolve, reject) => {
        end = { resolve, reject };
      }),
  );
  const settled = call.catch((error: unknown) => error);
  return {
    settled,
    succeed: () => end?.resolve("ok"),
    fail: (error = new Error("down")) => end?.reject(error),
  };
};

describe("CircuitBreaker, consecutive mode", () => {
  it("starts closed and lets results and errors through unchanged", async () => {
    const { breaker, conserved } = setup();
    expect(breaker.state).toEqual({ kind: "closed" });
    await expect(breaker.execute(() => 1)).resolves.toBe(1);
    const error = new Error("down");
    await expect(breaker.execute(() => Promise.reject(error))).rejects.toBe(error);
    expect(conserved()).toMatchObject({ successCount: 1, failureCount: 1 });
  });

  it("opens at exactly the threshold", async () => {
    const { breaker, fail, states } = setup();
    await fail(2);
    expect(breaker.state.kind).toBe("closed");
    await fail(1);
    expect(breaker.state).toEqual({ kind: "open", halfOpenAt: 60_000 });
    expect(states).toEqual(["closed -> open"]);
  });

  it("refuses while open without calling, with the time that remains", async () => {
    const { clock, breaker, fail, conserved } = setup();
    await fail(3);
    await clock.advance(20_000);
    const body = vi.fn();
    const error = await breaker.execute(body).catch((reason: unknown) => reason);
    expect(error).toBeInstanceOf(CircuitOpenError);
    expect(error).toMatchObject({ retryable: true, retryAfterMs: 40_000, details: { breaker: "users" } });
    expect((error as Error).message).toContain("Circuit breaker is open");
    expect(body).not.toHaveBeenCalled();
    expect(conserved().rejectedCount).toBe(1);
  });

  it("closes with one success after the open time", async () => {
    const { clock, breaker, fail, succeed, states } = setup();
    await fail(3);
    await clock.advance(60_000);
    await succeed();
    expect(breaker.state.kind).toBe("closed");
    expect(states).toEqual(["closed -> open", "open -> half-open", "half-open -> closed"]);
    await fail(2);
    expect(breaker.state.kind).toBe("closed");
  });

  it("opens again for a full period when the probe fails", async () => {
    const { clock, breaker, fail, conserved } = setup();
    await fail(3);
    await clock.advance(60_000);
    await fail(1);
    expect(breaker.state).toEqual({ kind: "open", halfOpenAt: 120_000 });
    conserved();
  });

  it("counts anew after a success between failures", async () => {
    const { breaker, fail, succeed } = setup();
    for (let round = 0; round < 5; round += 1) {
      await fail(2);
      await succeed();
    }
    expect(breaker.state.kind).toBe("closed");
  });

  it("lets unclassified errors through uncounted", async () => {
    const { breaker, fail, conserved } = setup();
    await fail(2);
    await times(10, () => breaker.execute(() => Promise.reject(new Unrelated())));
    expect(breaker.state.kind).toBe("closed");
    await fail(1);
    expect(breaker.state.kind).toBe("open");
    expect(conserved().ignoredCount).toBe(10);
  });

  it("gives the permit back when a probe ends with an unclassified error, and lets the next one decide", async () => {
    const { clock, breaker, fail, succeed } = setup();
    await fail(3);
    await clock.advance(60_000);
    await times(3, () => breaker.execute(() => Promise.reject(new Unrelated())));
    expect(breaker.state).toEqual({ kind: "half-open", probeCount: 0 });
    await succeed();
    expect(breaker.state.kind).toBe("closed");
  });

  it("gives the permit back when the caller of a probe goes away", async () => {
    const { clock, breaker, fail, conserved } = setup();
    await fail(3);
    await clock.advance(60_000);
    const controller = new AbortController();
    const call = breaker.execute(() => new Promise(() => undefined), { signal: controller.signal });
    const rejection = expect(call).rejects.toThrow("gone");
    expect(breaker.state).toEqual({ kind: "half-open", probeCount: 1 });
    controller.abort(new Error("gone"));
    await rejection;
    expect(breaker.state).toEqual({ kind: "half-open", probeCount: 0 });
    expect(conserved().ignoredCount).toBe(1);
  });

  it.each([
    1, 3,
  ])("lets exactly %i of 50 concurrent callers through while half-open", async (probeMaxCount) => {
    const { clock, breaker, fail, conserved } = setup({ probeMaxCount, probeSuccessCount: probeMaxCount });
    await fail(3);
    await clock.advance(60_000);
    const probes = Array.from({ length: 50 }, () => hanging(breaker));
    expect(breaker.state).toEqual({ kind: "half-open", probeCount: probeMaxCount });
    for (const probe of probes) probe.succeed();
    const results = await Promise.all(probes.map((probe) => probe.settled));
    expect(results.filter((result) => result === "ok")).toHaveLength(probeMaxCount);
    expect(results.filter((result) => result instanceof CircuitOpenError)).toHaveLength(50 - probeMaxCount);
    expect(breaker.state.kind).toBe("closed");
    conserved();
  });

  it("ignores outcomes of calls that began before a state change", async () => {
    const { clock, breaker, fail, conserved } = setup();
    const early = hanging(breaker);
    const earlyFailure = hanging(breaker);
    await fail(3);
    early.succeed();
    await early.settled;
    expect(breaker.state.kind).toBe("open");
    await clock.advance(60_000);
    const probe = hanging(breaker);
    earlyFailure.fail();
    await earlyFailure.settled;
    expect(breaker.state).toEqual({ kind: "half-open", probeCount: 1 });
    probe.succeed();
    await probe.settled;
    expect(breaker.state.kind).toBe("closed");
    expect(conserved().staleCount).toBe(2);
  });

  it("replaces a probe that never ends after a further open time", async () => {
    const { clock, breaker, fail, succeed } = setup();
    await fail(3);
    await clock.advance(60_000);
    const lost = hanging(breaker);
    await expect(breaker.execute(() => "ok")).rejects.toBeInstanceOf(CircuitOpenError);
    await clock.advance(60_000);
    await succeed();
    expect(breaker.state.kind).toBe("closed");
    lost.fail();
    await lost.settled;
    expect(breaker.state.kind).toBe("closed");
  });

  it("can be isolated and released by hand", async () => {
    const { clock, breaker, succeed, states, conserved } = setup();
    const running = hanging(breaker);
    breaker.isolate();
    breaker.isolate();
    await expect(breaker.execute(() => 1)).rejects.toMatchObject({
      retryable: false,
      retryAfterMs: undefined,
    });
    await clock.advance(1_000_000);
    await expect(breaker.execute(() => 1)).rejects.toBeInstanceOf(CircuitOpenError);
    running.succeed();
    await running.settled;
    expect(breaker.state.kind).toBe("isolated");
    breaker.release();
    breaker.release();
    await succeed();
    expect(states).toEqual(["closed -> isolated", "isolated -> closed"]);
    conserved();
  });
});

describe("CircuitBreaker, windows", () => {
  const trip = { callMinCount: 10, failureRatio: 0.5 } as const;

  it.each([
    "time",
    "count",
  ] as const)("%s window opens at ratio and minimum volume, not below", async (mode) => {
    const below = setup({ trip: { mode, ...trip } });
    await below.succeed(6);
    await below.fail(4);
    expect(below.breaker.state.kind).toBe("closed");
    const atRatio = setup({ trip: { mode, ...trip } });
    await atRatio.succeed(5);
    await atRatio.fail(4);
    expect(atRatio.breaker.state.kind).toBe("closed");
    await atRatio.fail(1);
    expect(atRatio.breaker.state.kind).toBe("open");
    const tooFew = setup({ trip: { mode, ...trip } });
    await tooFew.fail(9);
    expect(tooFew.breaker.state.kind).toBe("closed");
  });

  it("judges with a success too when that one completes the volume", async () => {
    const { breaker, fail, succeed } = setup({ trip: { mode: "time", ...trip } });
    await fail(9);
    await succeed(1);
    expect(breaker.state.kind).toBe("open");
  });

  it("opens at a steady 50 % failure rate with the default window", async () => {
    const { breaker, clock, fail, succeed } = setup({ trip: { mode: "time" } });
    for (let round = 0; round < 10; round += 1) {
      await succeed();
      await fail();
      await clock.advance(1_000);
    }
    expect(breaker.state.kind).toBe("open");
  });

  it("forgets what left the time window", async () => {
    const { clock, breaker, fail, conserved } = setup({ trip: { mode: "time", windowMs: 10_000, ...trip } });
    await fail(9);
    await clock.advance(10_000);
    await fail(1);
    expect(breaker.state.kind).toBe("closed");
    await fail(9);
    expect(breaker.state.kind).toBe("open");
    conserved();
  });

  it("forgets what left the count window", async () => {
    const { breaker, fail, succeed } = setup({ trip: { mode: "count", size: 10, failureRatio: 0.6 } });
    await fail(5);
    await succeed(5);
    await fail(5);
    expect(breaker.state.kind).toBe("closed");
    await fail(1);
    expect(breaker.state.kind).toBe("open");
  });

  it.each(["time", "count"] as const)("%s window opens when too many calls are slow", async (mode) => {
    const { clock, breaker, conserved } = setup({
      slowCallMs: 100,
      trip: { mode, callMinCount: 4, slowCallRatio: 0.75 },
    });
    const slow = async () => {
      const call = breaker.execute(() => clock.sleep(100));
      await clock.advance(100);
      await call;
    };
    await breaker.execute(() => "fast");
    await slow();
    await slow();
    expect(breaker.state.kind).toBe("closed");
    await slow();
    expect(breaker.state.kind).toBe("open");
    expect(conserved()).toMatchObject({ slowCount: 3, successCount: 4 });
  });

  it("takes a slow probe for a failed one", async () => {
    const { clock, breaker, fail } = setup({ slowCallMs: 100, trip: { mode: "count", size: 4 } });
    await fail(4);
    await clock.advance(60_000);
    const probe = breaker.execute(() => clock.sleep(100));
    await clock.advance(100);
    await probe;
    expect(breaker.state.kind).toBe("open");
  });

  it("agrees with a plain model of the time window for any history", async () => {
    const event = fc.record({ gapMs: fc.integer({ min: 0, max: 400 }), isFailure: fc.boolean() });
    await fc.assert(
      fc.asyncProperty(fc.array(event, { maxLength: 80 }), async (history) => {
        const { clock, breaker, fail, succeed, conserved } = setup({
          trip: { mode: "time", windowMs: 1_000, bucketCount: 10, callMinCount: 5, failureRatio: 0.5 },
        });
        // Slices begin when the window starts or restarts; with whole multiples the model can use time alone.
        const seen: { slice: number; isFailure: boolean }[] = [];
        for (const { gapMs, isFailure } of history) {
          await clock.advance(gapMs - (gapMs % 100));
          const slice = clock.monotonicNow() / 100;
          seen.push({ slice, isFailure });
          await (isFailure ? fail() : succeed());
          const live = seen.filter((entry) => entry.slice > slice - 10);
          const failures = live.filter((entry) => entry.isFailure).length;
          const mustOpen = live.length >= 5 && failures >= live.length / 2;
          expect(breaker.state.kind).toBe(mustOpen ? "open" : "closed");
          if (mustOpen) break;
        }
        conserved();
      }),
      { numRuns: 60 },
    );
  });

  it("keeps its counts consistent under any mixture of concurrent calls", async () => {
    const { clock, breaker, conserved } = setup({
      probeMaxCount: 2,
      openMs: 50,
      trip: { mode: "count", size: 10 },
    });
    const random = seededRandom(3);
    const calls = Array.from({ length: 400 }, async () => {
      await clock.sleep(random.next() * 2_000);
      const roll = random.next();
      if (roll < 0.02) breaker.isolate();
      if (roll > 0.9) breaker.release();
      await breaker
        .execute(async () => {
          await clock.sleep(random.next() * 40);
          if (random.next() < 0.5) throw random.next() < 0.2 ? new Unrelated() : new Error("down");
        })
        .catch(() => undefined);
    });
    for (let step = 0; step < 30; step += 1) {
      await clock.advance(100);
      conserved();
    }
    await Promise.all(calls);
    const stats = conserved();
    expect(stats.inFlightCount).toBe(0);
    expect(Math.min(stats.rejectedCount, stats.halfOpenedCount, stats.staleCount)).toBeGreaterThan(0);
  });

  it.each([
    ["breaker.openMs", { openMs: 0 }],
    ["breaker.probeMaxCount", { probeMaxCount: 0 }],
    ["breaker.probeSuccessCount", { probeSuccessCount: 0.5 }],
    ["breaker.isFailure", { isFailure: true as never }],
    ["breaker.slowCallMs", { slowCallMs: -1 }],
    ["breaker.slowCallMs", { trip: { mode: "time", slowCallRatio: 0.5 } }],
    ["breaker.trip.mode", { trip: { mode: "sometimes" as never } }],
    ["breaker.trip.failureMaxCount", { trip: { mode: "consecutive", failureMaxCount: 0 } }],
    ["breaker.trip.windowMs", { trip: { mode: "time", windowMs: 0 } }],
    ["breaker.trip.bucketCount", { trip: { mode: "time", bucketCount: 0 } }],
    ["breaker.trip.size", { trip: { mode: "count", size: 0 } }],
    ["breaker.trip.callMinCount", { trip: { mode: "count", size: 5, callMinCount: 6 } }],
    ["breaker.trip.failureRatio", { trip: { mode: "time", failureRatio: 1.1 } }],
    ["breaker.trip.slowCallRatio", { slowCallMs: 1, trip: { mode: "time", slowCallRatio: 0 } }],
  ] satisfies [
    string,
    CircuitBreakerOptions,
  ][])("refuses a wrong %s at creation, naming it", (field, options) => {
    expect(() => new CircuitBreaker(options)).toThrow(InvalidInputError);
    expect(() => new CircuitBreaker(options)).toThrow(expect.objectContaining({ field }));
  });
});
