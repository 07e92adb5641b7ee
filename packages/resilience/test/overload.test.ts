import { seededRandom } from "@holdfast/kernel";
import { VirtualClock } from "@holdfast/kernel/testing";
import { describe, expect, it } from "vitest";
import {
  Bulkhead,
  CircuitBreaker,
  compose,
  exponentialBackoff,
  type Policy,
  Retry,
  ShareBudget,
  Timeout,
} from "../src/index.ts";

/** Sends calls at a steady rate for a while and tells how each ended and when. */
const load = (clock: VirtualClock, policy: Policy, body: () => Promise<void>) => {
  const ends: { at: number; isGood: boolean }[] = [];
  const pending: Promise<void>[] = [];
  const send = async (): Promise<void> => {
    const isGood = await policy.execute(body).then(
      () => true,
      () => false,
    );
    ends.push({ at: clock.monotonicNow(), isGood });
  };
  return {
    ends,
    pending,
    async run(perSecond: number, seconds: number): Promise<void> {
      for (let count = 0; count < perSecond * seconds; count += 1) {
        pending.push(send());
        await clock.advance(1_000 / perSecond);
      }
    },
    goodPerSecond(fromMs: number, toMs: number): number {
      const good = ends.filter(({ at, isGood }) => isGood && at >= fromMs && at < toMs);
      return (good.length * 1_000) / (toMs - fromMs);
    },
  };
};

/** Works on one thing after the other, first come first served, also on what nobody waits for any more. */
const slowServer = (clock: VirtualClock, workMs: number) => {
  let freeAt = 0;
  return async (): Promise<void> => {
    freeAt = Math.max(freeAt, clock.monotonicNow()) + workMs;
    await clock.sleep(freeAt - clock.monotonicNow());
  };
};

describe("a dependency in trouble", () => {
  it("receives at most a fifth more calls in a total outage", async () => {
    const clock = new VirtualClock();
    const policy = compose({
      retry: new Retry({
        maxAttempts: 4,
        shouldRetry: () => true,
        backoff: exponentialBackoff({ baseMs: 10, capMs: 50 }),
        budget: new ShareBudget({ minPerSecond: 0, clock }),
        random: seededRandom(1),
        clock,
      }),
    });
    let received = 0;
    const calls = load(clock, policy, () => {
      received += 1;
      return Promise.reject(new Error("down"));
    });
    await calls.run(200, 10);
    await clock.advance(1_000);
    await Promise.all(calls.pending);
    expect(calls.ends).toHaveLength(2_000);
    expect(received).toBeGreaterThan(2_000);
    expect(received).toBeLessThanOrEqual(2_400);
  });

  it("gives at least nine tenths of its capacity as good answers at three times the load, and recovers at once", async () => {
    const clock = new VirtualClock();
    // 100 answers a second, and no caller waits longer than half a second.
    const policy = compose({
      deadline: new Timeout({ timeoutMs: 500, clock }),
      concurrency: new Bulkhead({ concurrencyMaxCount: 4, waiterMaxCount: 20, clock }),
    });
    const calls = load(clock, policy, slowServer(clock, 10));
    await calls.run(50, 2);
    await calls.run(300, 10);
    expect(calls.goodPerSecond(3_000, 12_000)).toBeGreaterThanOrEqual(90);
    await calls.run(50, 3);
    await clock.advance(1_000);
    await Promise.all(calls.pending);
    expect(calls.goodPerSecond(12_500, 14_500)).toBeGreaterThanOrEqual(49);
  });

  it("is left alone by the breaker until it answers again, and gets all calls back after one probe", async () => {
    const clock = new VirtualClock();
    const policy = compose({
      breaker: new CircuitBreaker({ openMs: 2_000, clock }),
      timeout: new Timeout({ timeoutMs: 100, clock }),
    });
    let isDown = true;
    let received = 0;
    const calls = load(clock, policy, () => {
      received += 1;
      return isDown ? new Promise(() => undefined) : Promise.resolve();
    });
    await calls.run(100, 10);
    // What went out before the first 20 had failed, and then one probe each two seconds.
    expect(received).toBeLessThan(40);
    isDown = false;
    await calls.run(100, 5);
    await clock.advance(200);
    await Promise.all(calls.pending);
    expect(calls.goodPerSecond(13_000, 15_000)).toBeGreaterThanOrEqual(99);
  });
});
