import { VirtualClock } from "@holdfast/kernel/testing";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { Meter } from "../measurements.ts";
import type { LoadTestAction, OnActionEnd } from "../workflow.ts";
import { generateLoad, type LoadOutcome, type LoadPlan } from "./load-generator.ts";

const setUp = () => {
  const clock = new VirtualClock();
  const meter = new Meter();
  const controller = new AbortController();
  const progress: [number, number][] = [];
  const start = (plan: LoadPlan, action: LoadTestAction, drainMs?: number): Promise<LoadOutcome> =>
    generateLoad(plan, {
      action,
      clock,
      signal: controller.signal,
      meter: {
        count: (name, amount) => meter.count(name, amount),
        record: (name, value) => meter.record(name, value),
        progress: (done, total = 0) => progress.push([done, total]),
      },
      ...(drainMs === undefined ? {} : { drainMs }),
    });
  return { clock, meter, controller, progress, start };
};

const open = (ratePerSecond: number, durationMs: number, rest: Partial<LoadPlan> = {}): LoadPlan =>
  ({
    model: "open",
    ratePerSecond,
    durationMs,
    shard: 0,
    shardCount: 1,
    inFlightMax: 1_000,
    ...rest,
  }) as LoadPlan;

describe("the open model", () => {
  it("starts exactly the planned number of actions, at the planned times", async () => {
    const { clock, meter, start } = setUp();
    const starts: number[] = [];
    const outcome = start(open(100, 1_000), async () => {
      starts.push(clock.monotonicNow());
      await clock.sleep(5);
    });
    await clock.advance(2_000);
    expect(await outcome).toMatchObject({ model: "open", plannedCount: 100, lateCount: 0, missedCount: 0 });
    expect(starts).toEqual(Array.from({ length: 100 }, (_, index) => index * 10));
    const totals = meter.totals();
    expect(totals.counters).toEqual({ requests: 100 });
    expect(totals.histograms["latency"]).toMatchObject({ count: 100, min: 5, max: 5 });
  });

  it("survives actions that end before their start returns, however many are due at once", async () => {
    const { clock, meter, start } = setUp();
    let count = 0;
    const action: LoadTestAction = Object.assign(async () => undefined, {
      start: (_signal: AbortSignal, onEnd: OnActionEnd): void => {
        count += 1;
        if (count === 1) clock.schedule(500, onEnd);
        else onEnd(count % 2 === 0 ? { error: new Error("even") } : undefined);
      },
    });
    const outcome = start(open(100_000, 501, { inFlightMax: 1 }), action);
    await clock.advance(2_000);
    expect(await outcome).toMatchObject({ plannedCount: 50_100, missedCount: 0 });
    expect(count).toBe(50_100);
    expect(meter.totals().counters).toMatchObject({ requests: 50_100, "errors.Error": 25_050 });
  });

  it("lets the shards start every action of the plan between them, once", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 1, max: 7 }),
        fc.integer({ min: 1, max: 300 }),
        fc.integer({ min: 1, max: 1_500 }),
        async (shardCount, ratePerSecond, durationMs) => {
          let startedCount = 0;
          for (let shard = 0; shard < shardCount; shard += 1) {
            const { clock, start } = setUp();
            const outcome = start(open(ratePerSecond, durationMs, { shard, shardCount }), async () => {
              startedCount += 1;
            });
            await clock.advance(durationMs + 100);
            await outcome;
          }
          expect(startedCount).toBe(Math.ceil((ratePerSecond * durationMs) / 1_000));
        },
      ),
      { numRuns: 15 },
    );
  });

  it("counts the latency of a stalled server from the planned start, so that the stall shows", async () => {
    const { clock, meter, start } = setUp();
    // Answers within 1 ms, except that it stands still from 2 s to 3 s. One action in flight at a time.
    const server = async (): Promise<void> => {
      const now = clock.monotonicNow();
      await clock.sleep(now >= 2_000 && now < 3_000 ? 3_000 - now + 1 : 1);
    };
    const outcome = start(open(100, 10_000, { inFlightMax: 1 }), server);
    await clock.advance(30_000);
    const result = await outcome;
    expect(result.missedCount).toBe(0);
    const truth = Array.from({ length: 1_000 }, (_, index) => {
      const plannedAt = index * 10;
      if (plannedAt < 2_000) return 1;
      // Those planned during the stall wait for its end and then for each other, 1 ms each.
      const freeAt = 3_001 + Math.max(0, index - 200);
      return Math.max(1, freeAt - plannedAt);
    }).sort((a, b) => a - b);
    const latency = meter.totals().histograms["latency"];
    expect(latency?.count).toBe(1_000);
    for (const [figure, rank] of [
      ["p50", 499],
      ["p90", 899],
      ["p95", 949],
      ["p99", 989],
      ["p999", 998],
    ] as const) {
      const expected = truth[rank] ?? 0;
      expect(Math.abs((latency?.[figure] ?? 0) - expected)).toBeLessThanOrEqual(Math.max(3, expected * 0.05));
    }
    expect(meter.totals().counters["load.late"]).toBe(result.lateCount);
    expect(result.lateCount).toBeGreaterThan(90);
  });

  it("accounts for every planned action when the server never keeps up", async () => {
    const { clock, meter, start } = setUp();
    const outcome = start(open(1_000, 1_000, { inFlightMax: 10 }), () => clock.sleep(100));
    await clock.advance(5_000);
    const { plannedCount, missedCount } = await outcome;
    const { counters, histograms } = meter.totals();
    expect(plannedCount).toBe(1_000);
    expect(counters["requests"]).toBe(1_000 - missedCount);
    expect(counters["load.missed"]).toBe(missedCount);
    expect(histograms["latency"]?.count).toBe(counters["requests"]);
    expect(missedCount).toBe(900);
  });

  it("never has more actions in flight than allowed", async () => {
    const { clock, start } = setUp();
    let inFlight = 0;
    let most = 0;
    const outcome = start(open(500, 1_000, { inFlightMax: 7 }), async () => {
      inFlight += 1;
      most = Math.max(most, inFlight);
      await clock.sleep(50);
      inFlight -= 1;
    });
    await clock.advance(3_000);
    await outcome;
    expect(most).toBe(7);
  });
});

describe("the closed model", () => {
  it("keeps each virtual user at one action after the other", async () => {
    const { clock, meter, start, progress } = setUp();
    const outcome = start({ model: "closed", virtualUsers: 4, durationMs: 1_000 }, () => clock.sleep(10));
    await clock.advance(2_000);
    expect(await outcome).toMatchObject({ model: "closed", plannedCount: null, missedCount: 0 });
    expect(meter.totals().counters).toEqual({ requests: 400 });
    expect(progress.at(-1)).toEqual([400, 400]);
    // From the first tick on what is to come is estimated; answers due at the very tick may be missing in it.
    for (const [, expected] of progress) expect(Math.abs(expected - 400)).toBeLessThanOrEqual(40);
  });

  it("does nothing without virtual users", async () => {
    const { clock, meter, start } = setUp();
    const outcome = start({ model: "closed", virtualUsers: 0, durationMs: 1_000 }, () => clock.sleep(10));
    await clock.advance(1_000);
    await outcome;
    expect(meter.totals().counters).toEqual({});
  });

  it("lets time pass although actions never wait", async () => {
    const { clock, meter, start } = setUp();
    const outcome = start({ model: "closed", virtualUsers: 2, durationMs: 20 }, async () => undefined);
    await clock.advance(200);
    await outcome;
    expect(meter.totals().counters["requests"]).toBeGreaterThan(1_000);
  });
});

describe("both models", () => {
  it("count errors by code or name, and their latency like any other", async () => {
    const { clock, meter, start } = setUp();
    let index = 0;
    const errors = [
      Object.assign(new Error("refused"), { code: "ECONNREFUSED" }),
      new TypeError("wrong"),
      "a text",
      Object.assign(new Error("http"), { code: "HTTP_500" }),
    ];
    const outcome = start(open(10, 1_000), async () => {
      await clock.sleep(2);
      index += 1;
      if (index <= errors.length) throw errors[index - 1];
    });
    await clock.advance(3_000);
    await outcome;
    expect(meter.totals().counters).toEqual({
      requests: 10,
      errors: 4,
      "errors.ECONNREFUSED": 1,
      "errors.TypeError": 1,
      "errors.Error": 1,
      "errors.HTTP_500": 1,
    });
    expect(meter.totals().histograms["latency"]?.count).toBe(10);
  });

  it("gather error names beyond fifty under one name", async () => {
    const { clock, meter, start } = setUp();
    let index = 0;
    const outcome = start(open(100, 1_000), async () => {
      index += 1;
      throw Object.assign(new Error("x"), { code: `E${index}` });
    });
    await clock.advance(2_000);
    await outcome;
    const { counters } = meter.totals();
    expect(counters["errors.other"]).toBe(50);
    expect(counters["errors"]).toBe(100);
  });

  it.each([
    open(10, 1_000),
    { model: "closed", virtualUsers: 10, durationMs: 1_000 } as LoadPlan,
  ])("abort what is in flight long after the end and count it as unfinished ($model)", async (plan) => {
    const { clock, meter, start } = setUp();
    let abortedCount = 0;
    const outcome = start(
      plan,
      (signal) =>
        new Promise(() => {
          signal.addEventListener("abort", () => {
            abortedCount += 1;
          });
        }),
      500,
    );
    await clock.advance(5_000);
    await outcome;
    expect(abortedCount).toBe(10);
    expect(meter.totals().counters).toEqual({ requests: 10, errors: 10, "errors.unfinished": 10 });
  });

  it.each([
    open(10, 10_000),
    { model: "closed", virtualUsers: 3, durationMs: 10_000 } as LoadPlan,
  ])("stop at once when aborted, leaving no timer ($model)", async (plan) => {
    const { clock, meter, controller, start } = setUp();
    const outcome = start(plan, (signal) => clock.sleep(100, { signal }));
    outcome.catch(() => undefined);
    await clock.advance(1_000);
    controller.abort(new Error("cancelled"));
    await expect(outcome).rejects.toThrow("cancelled");
    const before = meter.totals().counters["requests"];
    await clock.advance(10_000);
    expect(meter.totals().counters["requests"]).toBe(before);
    expect(clock.pendingCount).toBe(0);
  });
});
