import { InvalidInputError, OverloadedError, seededRandom, TimeoutError } from "@holdfast/kernel";
import { VirtualClock } from "@holdfast/kernel/testing";
import fc from "fast-check";
import { describe, expect, it, vi } from "vitest";
import {
  exponentialBackoff,
  fixedBackoff,
  RateLimitedError,
  retryOn,
  retryPresets,
  TokenBudget,
} from "../index.ts";
import { type GiveUpReason, Retry, type RetryOptions } from "./retry.ts";

class Flaky extends Error {}
class Deadly extends Error {}

const setup = (options: RetryOptions = {}) => {
  const clock = new VirtualClock();
  const retry = new Retry({
    clock,
    random: seededRandom(1),
    backoff: exponentialBackoff({ baseMs: 100, jitter: "none" }),
    shouldRetry: retryOn(Flaky),
    ...options,
  });
  const conserved = () => {
    const stats = retry.stats;
    expect(stats.callCount).toBe(
      stats.successCount + stats.failureCount + stats.abortCount + stats.inFlightCount,
    );
    const gaveUp = Object.values(stats.gaveUpCounts).reduce((sum, count) => sum + count, 0);
    expect(stats.failureCount).toBe(gaveUp + stats.deadlineCount);
    expect(stats.attemptCount).toBe(stats.callCount - stats.unstartedCount + stats.retryCount);
    return stats;
  };
  const reasons: GiveUpReason[] = [];
  retry.events.on("gaveUp", ({ reason }) => reasons.push(reason));
  return { clock, retry, conserved, reasons };
};

/** A body that fails this many times, then gives "done"; its attempts are recorded with their instants. */
const failing = (count: number, clock: VirtualClock, error: () => Error = () => new Flaky()) => {
  const starts: number[] = [];
  const body = async () => {
    starts.push(clock.monotonicNow());
    if (starts.length <= count) throw error();
    return "done";
  };
  return { body, starts };
};

describe("Retry", () => {
  it("makes one call when the first succeeds", async () => {
    const { clock, retry, conserved } = setup();
    const { body, starts } = failing(0, clock);
    await expect(retry.execute(body)).resolves.toBe("done");
    expect(starts).toHaveLength(1);
    expect(conserved()).toMatchObject({ successCount: 1, retryCount: 0 });
    expect(clock.pendingCount).toBe(0);
  });

  it("fails twice, then succeeds with the third call and its value, after 100 and 200 ms", async () => {
    const { clock, retry, conserved } = setup();
    const { body, starts } = failing(2, clock);
    const call = retry.execute(body);
    await clock.advance(10_000);
    await expect(call).resolves.toBe("done");
    expect(starts).toEqual([0, 100, 300]);
    expect(conserved()).toMatchObject({ attemptCount: 3, retryCount: 2 });
  });

  it("makes at most maxAttempts calls and rethrows the last error itself", async () => {
    await fc.assert(
      fc.asyncProperty(fc.integer({ min: 1, max: 8 }), async (maxAttempts) => {
        const { clock, retry, conserved, reasons } = setup({ maxAttempts });
        const errors: Error[] = [];
        const call = retry
          .execute(() => {
            const error = new Flaky(`${errors.length}`);
            errors.push(error);
            throw error;
          })
          .catch((error: unknown) => error);
        await clock.advance(1_000_000);
        expect(await call).toBe(errors.at(-1));
        expect(errors).toHaveLength(maxAttempts);
        expect(reasons).toEqual(["attempts"]);
        conserved();
      }),
      { numRuns: 20 },
    );
  });

  it("surfaces an error that is not classified after one call", async () => {
    const { retry, conserved, reasons } = setup({ shouldRetry: retryOn(Flaky, TimeoutError) });
    const body = vi.fn(() => Promise.reject(new Deadly("no")));
    await expect(retry.execute(body)).rejects.toBeInstanceOf(Deadly);
    expect(body).toHaveBeenCalledTimes(1);
    expect(reasons).toEqual(["not-retryable"]);
    expect(conserved().gaveUpCounts["not-retryable"]).toBe(1);
  });

  it("retries by default what its thrower marked retryable, and nothing else", async () => {
    const clock = new VirtualClock();
    const retry = new Retry({ clock, backoff: fixedBackoff({ delayMs: 1 }) });
    const { body, starts } = failing(1, clock, () => new TimeoutError("x", 1));
    const call = retry.execute(body);
    await clock.advance(1);
    await expect(call).resolves.toBe("done");
    expect(starts).toHaveLength(2);
    await expect(retry.execute(() => Promise.reject(new TypeError("bug")))).rejects.toThrow("bug");
  });

  it("calls onRetry with attempt and error for each retry but not after the last failure", async () => {
    const onRetry = vi.fn();
    const onSuccess = vi.fn();
    const { clock, retry } = setup({ maxAttempts: 3, onRetry, onSuccess });
    const call = retry.execute(failing(9, clock).body).catch(() => "failed");
    await clock.advance(10_000);
    await call;
    expect(onRetry.mock.calls.map(([attempt]) => attempt)).toEqual([1, 2]);
    expect(onRetry.mock.calls[0]?.[1]).toBeInstanceOf(Flaky);
    expect(onSuccess).not.toHaveBeenCalled();
    await retry.execute(() => 42);
    expect(onSuccess).toHaveBeenCalledExactlyOnceWith(42);
  });

  it("is not disturbed by callbacks that throw", async () => {
    const broken = () => {
      throw new Error("listener");
    };
    const { clock, retry } = setup({ onRetry: broken, onSuccess: broken });
    const call = retry.execute(failing(1, clock).body);
    await clock.advance(1_000);
    await expect(call).resolves.toBe("done");
  });

  it("gives each attempt a context of its own", async () => {
    const { clock, retry } = setup();
    const attempts: number[] = [];
    const call = retry.execute((context) => {
      attempts.push(context.attempt);
      if (context.attempt < 3) throw new Flaky();
      expect(context.deadlineAt).toBe(Number.POSITIVE_INFINITY);
      expect(context.signal.aborted).toBe(false);
    });
    await clock.advance(1_000);
    await call;
    expect(attempts).toEqual([1, 2, 3]);
  });

  it("ends a pause at once when the caller aborts, with the caller's reason", async () => {
    const { clock, retry, conserved } = setup();
    const controller = new AbortController();
    const { body, starts } = failing(9, clock);
    const call = retry.execute(body, { signal: controller.signal });
    const rejection = expect(call).rejects.toThrow("enough");
    await clock.advance(50);
    controller.abort(new Error("enough"));
    await rejection;
    expect(starts).toHaveLength(1);
    expect(clock.pendingCount).toBe(0);
    expect(conserved()).toMatchObject({ abortCount: 1, failureCount: 0 });
  });

  it("ends a running attempt at once when the caller aborts, even if it ignores its signal", async () => {
    const { retry, conserved } = setup();
    const controller = new AbortController();
    let seen: AbortSignal | undefined;
    const call = retry.execute(
      (context) => {
        seen = context.signal;
        return new Promise(() => undefined);
      },
      { signal: controller.signal },
    );
    controller.abort(new Error("enough"));
    await expect(call).rejects.toThrow("enough");
    expect(seen?.aborted).toBe(true);
    expect(seen?.reason).toBe(controller.signal.reason);
    conserved();
  });

  it("makes no attempt for a caller that has already gone", async () => {
    const { retry, conserved } = setup();
    const body = vi.fn();
    await expect(retry.execute(body, { signal: AbortSignal.abort(new Error("gone")) })).rejects.toThrow(
      "gone",
    );
    expect(body).not.toHaveBeenCalled();
    expect(conserved()).toMatchObject({ unstartedCount: 1, abortCount: 1 });
  });

  it("ends a running attempt at the total deadline with an error that names it", async () => {
    const { clock, retry, conserved } = setup({ deadlineMs: 250, name: "load users" });
    const call = retry.execute(async (context) => {
      if (context.attempt === 1) throw new Flaky();
      expect(context.deadlineAt).toBe(250);
      await new Promise(() => undefined);
    });
    const rejection = expect(call).rejects.toMatchObject({
      code: "KERNEL_TIMEOUT",
      operation: "load users",
      timeoutMs: 250,
    });
    await clock.advance(250);
    await rejection;
    expect(conserved()).toMatchObject({ deadlineCount: 1, attemptCount: 2 });
  });

  it("does not pause for an attempt that could not finish in time: it fails at once with the error at hand", async () => {
    const { clock, retry, reasons, conserved } = setup({ deadlineMs: 1_000, attemptMinMs: 850 });
    const { body, starts } = failing(9, clock);
    const call = retry.execute(body);
    const rejection = expect(call).rejects.toBeInstanceOf(Flaky);
    await clock.advance(200);
    await rejection;
    expect(starts).toEqual([0, 100]);
    expect(reasons).toEqual(["deadline"]);
    conserved();
    await clock.advance(25);
    expect(clock.pendingCount).toBe(0);
  });

  it("makes no retry with an empty budget and says so", async () => {
    const budget = new TokenBudget({ tokenMax: 2 });
    const { clock, retry, reasons, conserved } = setup({ budget });
    const { body, starts } = failing(9, clock);
    await expect(retry.execute(body)).rejects.toBeInstanceOf(Flaky);
    expect(starts).toHaveLength(1);
    expect(reasons).toEqual(["budget"]);
    expect(conserved().gaveUpCounts.budget).toBe(budget.stats.deniedCount);
  });

  it("pauses for as long as the server asks instead of the computed pause", async () => {
    const { clock, retry } = setup({ shouldRetry: () => true });
    const { body, starts } = failing(2, clock, () => new RateLimitedError("x", { retryAfterMs: 777 }));
    const call = retry.execute(body);
    await clock.advance(10_000);
    await call;
    expect(starts).toEqual([0, 777, 1_554]);
  });

  it.each([
    Number.NaN,
    -1,
  ])("computes the pause itself where the server asks for %s ms", async (retryAfterMs) => {
    const { clock, retry } = setup({ shouldRetry: () => true });
    const { body, starts } = failing(2, clock, () => new RateLimitedError("x", { retryAfterMs }));
    const call = retry.execute(body);
    await clock.advance(10_000);
    await call;
    expect(starts).toEqual([0, 100, 300]);
  });

  it("does not wait for a server that asks for too long a pause", async () => {
    const { clock, retry, reasons } = setup({ shouldRetry: () => true, hintMaxMs: 500 });
    const { body } = failing(1, clock, () => new RateLimitedError("x", { retryAfterMs: 501 }));
    await expect(retry.execute(body)).rejects.toBeInstanceOf(RateLimitedError);
    expect(reasons).toEqual(["hint"]);
  });

  it("repeats a call that is not safe to repeat only when it was refused before it began", async () => {
    const { clock, retry, reasons } = setup({ shouldRetry: () => true });
    await expect(
      retry.execute(failing(1, clock, () => new TimeoutError("write", 5)).body, { idempotent: false }),
    ).rejects.toBeInstanceOf(TimeoutError);
    expect(reasons).toEqual(["not-idempotent"]);
    const refused = retry.execute(failing(1, clock, () => new OverloadedError("queue", 1)).body, {
      idempotent: false,
    });
    await clock.advance(100);
    await expect(refused).resolves.toBe("done");
  });

  it("ties an inner call to an outer one", async () => {
    const { clock, retry } = setup({ deadlineMs: 5_000 });
    const inner = new Retry({ clock, shouldRetry: () => true, backoff: fixedBackoff({ delayMs: 60_000 }) });
    const controller = new AbortController();
    const call = retry.execute(
      (context) => inner.execute(() => Promise.reject(new Deadly("inner")), context),
      { signal: controller.signal },
    );
    // The inner pause would pass the outer deadline, so the inner call gives up at once.
    await expect(call).rejects.toBeInstanceOf(Deadly);
    expect(inner.stats.gaveUpCounts.deadline).toBe(1);
  });

  it("keeps its counts consistent while many calls fail, abort and time out", async () => {
    const { clock, retry, conserved } = setup({ deadlineMs: 700 });
    const random = seededRandom(5);
    const calls = Array.from({ length: 200 }, () => {
      const controller = new AbortController();
      if (random.next() < 0.2) clock.schedule(random.next() * 500, () => controller.abort(new Error("gone")));
      return retry
        .execute(
          async () => {
            await clock.sleep(random.next() * 300);
            const chance = random.next();
            if (chance < 0.5) throw new Flaky();
            if (chance < 0.6) throw new Deadly();
          },
          { signal: controller.signal },
        )
        .catch(() => undefined);
    });
    await clock.advance(200);
    expect(conserved().inFlightCount).toBeGreaterThan(0);
    await clock.advance(5_000);
    await Promise.all(calls);
    const stats = conserved();
    expect(stats.inFlightCount).toBe(0);
    expect(Math.min(stats.abortCount, stats.deadlineCount, stats.successCount)).toBeGreaterThan(0);
  });

  it.each([
    ["retry.maxAttempts", { maxAttempts: 0 }],
    ["retry.maxAttempts", { maxAttempts: 1.5 }],
    ["retry.deadlineMs", { deadlineMs: 0 }],
    ["retry.attemptMinMs", { attemptMinMs: -1 }],
    ["retry.hintMaxMs", { hintMaxMs: Number.NaN }],
    ["retry.shouldRetry", { shouldRetry: 1 as never }],
  ] as const)("refuses a wrong %s at creation, naming it", (field, options) => {
    expect(() => new Retry(options)).toThrow(InvalidInputError);
    expect(() => new Retry(options)).toThrow(expect.objectContaining({ field }));
  });
});

describe("retryPresets", () => {
  it.each([
    ["none", 1, []],
    ["standard", 4, [100, 200, 400]],
    ["aggressive", 6, [50, 75, 112.5, 168.75, 253.125]],
    ["conservative", 3, [200, 600]],
  ] as const)("%s makes %i attempts with at least the listed pauses and at most 20 %% more", (name, attempts, pauses) => {
    const preset = retryPresets[name];
    expect(preset.maxAttempts).toBe(attempts);
    pauses.forEach((nominal, index) => {
      for (let seed = 0; seed < 50; seed += 1) {
        const pause = preset.backoff.delayMs(index + 1, undefined, seededRandom(seed));
        expect(pause).toBeGreaterThanOrEqual(nominal);
        expect(pause).toBeLessThanOrEqual(nominal * 1.2);
      }
    });
  });
});
