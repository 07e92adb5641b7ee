import { OverloadedError, seededRandom, TimeoutError } from "@holdfast/kernel";
import { VirtualClock } from "@holdfast/kernel/testing";
import { describe, expect, it, vi } from "vitest";
import {
  AdaptiveTimeout,
  Bulkhead,
  CircuitBreaker,
  CircuitOpenError,
  type ComposeOptions,
  compose,
  Fallback,
  fixedBackoff,
  Hedge,
  RateLimiter,
  Retry,
  SlidingWindow,
  Timeout,
} from "../src/index.ts";

const never = () => new Promise<never>(() => undefined);

const setup = () => {
  const clock = new VirtualClock();
  const parts = {
    deadline: new Timeout({ timeoutMs: 1_000, name: "whole call", clock }),
    retry: new Retry({
      maxAttempts: 3,
      backoff: fixedBackoff({ delayMs: 10 }),
      shouldRetry: () => true,
      clock,
    }),
    breaker: new CircuitBreaker({ trip: { mode: "consecutive", failureMaxCount: 5 }, clock }),
    concurrency: new Bulkhead({ concurrencyMaxCount: 2, clock }),
    timeout: new Timeout({ timeoutMs: 100, name: "attempt", clock }),
  } satisfies ComposeOptions<never>;
  return { clock, ...parts, policy: compose(parts) };
};

describe("compose", () => {
  it("gives the value through every policy and counts it in each", async () => {
    const { policy, deadline, retry, breaker, concurrency, timeout } = setup();
    await expect(policy.execute((context) => context.attempt)).resolves.toBe(1);
    for (const part of [deadline, retry, breaker, concurrency, timeout]) {
      expect(part.stats).toMatchObject({ callCount: 1, successCount: 1, inFlightCount: 0 });
    }
  });

  it("limits each attempt, lets the breaker judge each, and retries them", async () => {
    const { clock, policy, retry, breaker, timeout } = setup();
    const attempts: number[] = [];
    const call = policy.execute((context) => {
      attempts.push(context.attempt);
      return never();
    });
    const rejection = expect(call).rejects.toMatchObject({ operation: "attempt", timeoutMs: 100 });
    await clock.advance(320);
    await rejection;
    expect(attempts).toEqual([1, 2, 3]);
    expect(timeout.stats.timedOutCount).toBe(3);
    expect(breaker.stats.failureCount).toBe(3);
    expect(retry.stats.gaveUpCounts.attempts).toBe(1);
    expect(clock.pendingCount).toBe(0);
  });

  it("ends everything at the total deadline", async () => {
    const { clock, breaker, concurrency, timeout, deadline } = setup();
    const policy = compose({
      deadline: new Timeout({ timeoutMs: 250, name: "whole call", clock }),
      retry: new Retry({
        maxAttempts: 100,
        backoff: fixedBackoff({ delayMs: 10 }),
        shouldRetry: () => true,
        clock,
      }),
      breaker,
      concurrency,
      timeout,
    });
    expect(deadline.stats.callCount).toBe(0);
    const call = policy.execute(never);
    const rejection = expect(call).rejects.toMatchObject({ operation: "whole call", timeoutMs: 250 });
    await clock.advance(250);
    await rejection;
    expect(timeout.stats).toMatchObject({ timedOutCount: 2, failureCount: 1, inFlightCount: 0 });
    expect(concurrency.stats.inFlightCount).toBe(0);
    await clock.advance(25);
    expect(clock.pendingCount).toBe(0);
  });

  it("stops retrying when the breaker opens and its remaining time is longer than the retry would wait", async () => {
    const { clock, deadline, breaker } = setup();
    const retry = new Retry({ backoff: fixedBackoff({ delayMs: 10 }), shouldRetry: () => true, clock });
    const policy = compose({ deadline, retry, breaker });
    const body = vi.fn(() => Promise.reject(new Error("down")));
    const first = policy.execute(body).catch((error: unknown) => error);
    await clock.advance(100);
    await first;
    const second = policy.execute(body).catch((error: unknown) => error);
    await clock.advance(100);
    expect(await second).toBeInstanceOf(CircuitOpenError);
    expect(body).toHaveBeenCalledTimes(5);
    expect(breaker.state.kind).toBe("open");
    expect(retry.stats.gaveUpCounts.deadline).toBe(1);
  });

  it("never takes a refusal of our own limits for a failure of the dependency", async () => {
    const { clock } = setup();
    const breaker = new CircuitBreaker({ trip: { mode: "consecutive", failureMaxCount: 1 }, clock });
    const policy = compose({
      breaker,
      concurrency: new Bulkhead({ concurrencyMaxCount: 1, clock }),
      rateLimit: new RateLimiter({ source: new SlidingWindow({ limit: 2, windowMs: 1_000 }), clock }),
    });
    const running = policy.execute(() => clock.sleep(10));
    await expect(policy.execute(() => 1)).rejects.toMatchObject({ code: "KERNEL_OVERLOADED" });
    await expect(policy.execute(() => 1)).rejects.toMatchObject({ code: "RESILIENCE_RATE_LIMITED" });
    await clock.advance(10);
    await running;
    expect(breaker.stats).toMatchObject({ ignoredCount: 2, successCount: 1, state: "closed" });
    await clock.advance(1_000);
    const remote = policy.execute(() => Promise.reject(new OverloadedError("server", 5)));
    await expect(remote).rejects.toBeInstanceOf(OverloadedError);
    expect(breaker.state.kind).toBe("open");
  });

  it("counts the wait for a slot against the deadline but not against the attempt", async () => {
    const clock = new VirtualClock();
    const policy = compose({
      deadline: new Timeout({ timeoutMs: 300, clock }),
      concurrency: new Bulkhead({ concurrencyMaxCount: 1, waiterMaxCount: 5, clock }),
      timeout: new Timeout({ timeoutMs: 100, clock }),
    });
    const first = policy.execute(() => clock.sleep(90));
    const second = policy.execute(() => clock.sleep(90));
    await clock.advance(180);
    await Promise.all([first, second]);
    const slow = [1, 2, 3, 4].map(() =>
      policy.execute(() => clock.sleep(99)).catch((error: unknown) => error),
    );
    await clock.advance(400);
    const results = await Promise.all(slow);
    expect(results.slice(0, 3)).toEqual([undefined, undefined, undefined]);
    expect(results[3]).toMatchObject({ timeoutMs: 300 });
  });

  it("falls back only after the attempts are used up, with the last error, and widens the result type", async () => {
    const { clock, retry } = setup();
    const errors: unknown[] = [];
    const policy = compose({
      fallback: new Fallback({
        fallback: (error) => {
          errors.push(error);
          return "cached" as const;
        },
      }),
      retry,
    });
    let count = 0;
    const call: Promise<number | "cached"> = policy.execute<number>(() => {
      count += 1;
      throw new Error(`failure ${count}`);
    });
    await clock.advance(100);
    await expect(call).resolves.toBe("cached");
    expect(errors).toEqual([expect.objectContaining({ message: "failure 3" })]);
    await expect(policy.execute(() => 7)).resolves.toBe(7);
    expect(errors).toHaveLength(1);
  });

  it("sends each copy of a hedged call through breaker and timeout for itself", async () => {
    const clock = new VirtualClock();
    const hedge = new Hedge({ clock, warmUpCount: 1, share: 1 });
    const breaker = new CircuitBreaker({ clock });
    const timeout = new AdaptiveTimeout({ clock });
    const retry = new Retry({ clock });
    const policy = compose({ retry, hedge, breaker, timeout });
    const warm = policy.execute(() => clock.sleep(30));
    await clock.advance(30);
    await warm;
    const call = policy.execute(async ({ isHedge }) => {
      await clock.sleep(isHedge ? 5 : 90);
      return isHedge;
    });
    await clock.advance(40);
    await expect(call).resolves.toBe(true);
    expect(breaker.stats).toMatchObject({ callCount: 3, successCount: 2, ignoredCount: 1 });
    expect(timeout.stats).toMatchObject({ callCount: 3, abortCount: 1 });
    expect(retry.stats).toMatchObject({ callCount: 2, successCount: 2 });
  });

  it("ends every wait at once when the caller goes away, whatever the call is waiting for", async () => {
    const { clock, policy, concurrency, retry } = setup();
    const signalled = (body: () => unknown) => {
      const controller = new AbortController();
      const call = policy.execute(body, { signal: controller.signal });
      return { controller, rejection: expect(call).rejects.toThrow("gone") };
    };
    const running = signalled(never);
    const pausing = signalled(() => Promise.reject(new Error("down")));
    await clock.advance(5);
    for (const { controller, rejection } of [running, pausing]) {
      controller.abort(new Error("gone"));
      await rejection;
    }
    expect(concurrency.stats.inFlightCount).toBe(0);
    expect(retry.stats.abortCount).toBe(2);
    await clock.advance(25);
    expect(clock.pendingCount).toBe(0);
  });

  it("makes no signal for a body that does not ask for one", async () => {
    const { policy } = setup();
    const Original = globalThis.AbortController;
    let createdCount = 0;
    globalThis.AbortController = class extends Original {
      constructor() {
        super();
        createdCount += 1;
      }
    };
    try {
      await policy.execute(() => 1);
      expect(createdCount).toBe(0);
      await policy.execute((context) => context.signal.aborted);
      expect(createdCount).toBe(1);
    } finally {
      globalThis.AbortController = Original;
    }
  });

  it("keeps every policy's counts consistent under faults, aborts and overload", async () => {
    const clock = new VirtualClock();
    const retry = new Retry({
      maxAttempts: 4,
      backoff: fixedBackoff({ delayMs: 7 }),
      shouldRetry: () => true,
      clock,
    });
    const breaker = new CircuitBreaker({ trip: { mode: "count", size: 20 }, openMs: 60, clock });
    const concurrency = new Bulkhead({ concurrencyMaxCount: 4, waiterMaxCount: 6, waitMaxMs: 30, clock });
    const timeout = new Timeout({ timeoutMs: 25, clock });
    const deadline = new Timeout({ timeoutMs: 90, clock });
    const policy = compose({ deadline, retry, breaker, concurrency, timeout });
    const random = seededRandom(11);
    const calls = Array.from({ length: 600 }, async () => {
      await clock.sleep(random.next() * 3_000);
      const controller = new AbortController();
      if (random.next() < 0.1) clock.schedule(random.next() * 60, () => controller.abort(new Error("gone")));
      await policy
        .execute(
          async () => {
            await clock.sleep(random.next() * 35);
            if (random.next() < 0.4) throw new Error("down");
          },
          { signal: controller.signal },
        )
        .catch(() => undefined);
    });
    await clock.advance(5_000);
    await Promise.all(calls);
    const r = retry.stats;
    const b = breaker.stats;
    const c = concurrency.stats;
    const t = timeout.stats;
    const d = deadline.stats;
    expect(d.callCount).toBe(600);
    expect(d.callCount).toBe(d.successCount + d.failureCount + d.timedOutCount + d.abortCount);
    // Each layer's calls are the next one's: what one lets through is what the other receives.
    expect(r.callCount).toBe(d.callCount);
    expect(r.attemptCount).toBe(r.callCount - r.unstartedCount + r.retryCount);
    expect(b.callCount).toBe(r.attemptCount);
    expect(c.callCount).toBe(b.callCount - b.rejectedCount);
    expect(t.callCount).toBeLessThanOrEqual(c.successCount + c.failureCount);
    expect(t.callCount).toBe(t.successCount + t.failureCount + t.timedOutCount + t.abortCount);
    expect(b.callCount).toBe(b.successCount + b.failureCount + b.ignoredCount + b.rejectedCount);
    expect([r, b, c, t, d].map((stats) => stats.inFlightCount)).toEqual([0, 0, 0, 0, 0]);
    expect(
      Math.min(b.rejectedCount, c.rejectedCount, t.timedOutCount, d.timedOutCount, d.abortCount),
    ).toBeGreaterThan(0);
    await clock.advance(25);
    expect(clock.pendingCount).toBe(0);
  });

  it("refuses to compose nothing", () => {
    expect(() => compose({})).toThrow(/compose must be at least one policy/);
    expect(() => compose({ retry: undefined } as never)).toThrow(/at least one policy/);
  });

  it("rejects with a timeout in real time as well", async () => {
    const policy = compose({ retry: new Retry({ maxAttempts: 1 }), timeout: new Timeout({ timeoutMs: 5 }) });
    await expect(policy.execute(never)).rejects.toBeInstanceOf(TimeoutError);
  });
});
