import { VirtualClock } from "@holdfast/kernel/testing";
import { describe, expect, it } from "vitest";
import { RateLimitedError } from "../errors.ts";
import { RateLimiter, type RateLimiterOptions } from "./rate-limiter.ts";
import { SlidingWindow } from "./sliding-window.ts";

const setup = (options: Partial<RateLimiterOptions> = {}) => {
  const clock = new VirtualClock();
  const limiter = new RateLimiter({
    source: new SlidingWindow({ limit: 2, windowMs: 1_000 }),
    clock,
    ...options,
  });
  const conserved = () => {
    const stats = limiter.stats;
    expect(stats.askedCount).toBe(
      stats.grantedCount + stats.refusedCount + stats.abortedCount + stats.waitingCount,
    );
    return stats;
  };
  return { clock, limiter, conserved };
};

describe("RateLimiter", () => {
  it("refuses at once with the computed wait when nobody may wait", async () => {
    const { limiter, conserved } = setup();
    expect(limiter.tryTake(2)).toBe(0);
    const error = await limiter.execute(() => "never").catch((reason: unknown) => reason);
    expect(error).toBeInstanceOf(RateLimitedError);
    expect(error).toMatchObject({ code: "RESILIENCE_RATE_LIMITED", retryable: true, retryAfterMs: 1_000 });
    expect(conserved()).toMatchObject({ grantedCount: 1, refusedCount: 1, freePermitCount: 0 });
  });

  it("serves waiters in the order of their coming, and no newcomer passes them", async () => {
    const { clock, limiter, conserved } = setup({ waiterMaxCount: 10 });
    limiter.tryTake(2);
    const order: string[] = [];
    const first = limiter.execute(() => order.push("first"), { permitCount: 2 });
    const second = limiter.execute(() => order.push("second"));
    await clock.advance(1_000);
    expect(order).toEqual(["first"]);
    expect(limiter.tryTake()).toBeGreaterThan(0);
    expect(conserved().waitingCount).toBe(1);
    await clock.advance(1_000);
    await Promise.all([first, second]);
    expect(order).toEqual(["first", "second"]);
    expect(conserved()).toMatchObject({ grantedCount: 3, waitingCount: 0 });
    expect(clock.pendingCount).toBe(0);
  });

  it("refuses a waiter too many and a wait too long at once", async () => {
    const { limiter, conserved, clock } = setup({ waiterMaxCount: 1, waitMaxMs: 5_000 });
    limiter.tryTake(2);
    const waiting = limiter.acquire();
    await expect(limiter.acquire()).rejects.toBeInstanceOf(RateLimitedError);
    await clock.advance(1_000);
    await waiting;
    const impatient = setup({ waiterMaxCount: 1, waitMaxMs: 999 });
    impatient.limiter.tryTake(2);
    await expect(impatient.limiter.acquire()).rejects.toBeInstanceOf(RateLimitedError);
    expect(conserved().refusedCount).toBe(1);
  });

  it("refuses a waiter whose turn does not come in time", async () => {
    const { clock, limiter, conserved } = setup({ waiterMaxCount: 5, waitMaxMs: 1_500 });
    limiter.tryTake(2);
    const served = limiter.acquire({ permitCount: 2 });
    const late = limiter.acquire();
    const refusal = expect(late).rejects.toMatchObject({ retryAfterMs: 500 });
    await clock.advance(1_500);
    await served;
    await refusal;
    expect(conserved()).toMatchObject({ refusedCount: 1, waitingCount: 0 });
    expect(clock.pendingCount).toBe(0);
  });

  it("takes an aborted waiter out of the line and takes nothing for it", async () => {
    const { clock, limiter, conserved } = setup({ waiterMaxCount: 5 });
    limiter.tryTake(2);
    const controller = new AbortController();
    const aborted = limiter.acquire({ signal: controller.signal });
    const next = limiter.acquire();
    controller.abort(new Error("enough"));
    await expect(aborted).rejects.toThrow("enough");
    expect(conserved()).toMatchObject({ abortedCount: 1, waitingCount: 1 });
    await clock.advance(1_000);
    await next;
    expect(limiter.stats.freePermitCount).toBe(1);
  });

  it("serves the next in line at once when one who needed more goes away", async () => {
    const { clock, limiter, conserved } = setup({ waiterMaxCount: 5 });
    limiter.tryTake(1);
    const controller = new AbortController();
    const large = limiter.acquire({ permitCount: 2, signal: controller.signal });
    const small = limiter.acquire();
    controller.abort(new Error("gone"));
    await expect(large).rejects.toThrow("gone");
    await small;
    expect(clock.monotonicNow()).toBe(0);
    expect(clock.pendingCount).toBe(0);
    expect(conserved()).toMatchObject({ grantedCount: 2, abortedCount: 1 });
  });

  it("refuses more permits than the limit as wrong input", () => {
    expect(() => setup().limiter.tryTake(3)).toThrow(/permitCount/);
  });
});
