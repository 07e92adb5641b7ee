import { TimeoutError } from "@holdfast/kernel";
import { VirtualClock } from "@holdfast/kernel/testing";
import { describe, expect, it } from "vitest";
import { Timeout, type TimeoutStats } from "./timeout.ts";

const never = () => new Promise<never>(() => undefined);

const setup = (timeoutMs = 100) => {
  const clock = new VirtualClock();
  const timeout = new Timeout({ timeoutMs, name: "fetch", clock });
  const conserved = (): TimeoutStats => {
    const stats = timeout.stats;
    expect(stats.callCount).toBe(
      stats.successCount + stats.failureCount + stats.timedOutCount + stats.abortCount + stats.inFlightCount,
    );
    return stats;
  };
  return { clock, timeout, conserved };
};

describe("Timeout", () => {
  it.each([
    1, 20, 100, 60_000,
  ])("rejects after exactly %i ms, naming operation and limit", async (timeoutMs) => {
    const { clock, timeout, conserved } = setup(timeoutMs);
    const call = timeout.execute(never);
    let error: unknown;
    call.catch((reason: unknown) => {
      error = reason;
    });
    await clock.advance(timeoutMs - 0.5);
    expect(error).toBeUndefined();
    await clock.advance(0.5);
    expect(error).toBeInstanceOf(TimeoutError);
    expect(error).toMatchObject({ operation: "fetch", timeoutMs, retryable: true });
    expect(conserved().timedOutCount).toBe(1);
    expect(clock.pendingCount).toBe(0);
  });

  it("rejects in real time too, even at 1 ms", async () => {
    const timeout = new Timeout({ timeoutMs: 1 });
    await expect(timeout.execute(never)).rejects.toBeInstanceOf(TimeoutError);
  });

  it("aborts the signal of the inner call with the same error", async () => {
    const { clock, timeout } = setup();
    let signal: AbortSignal | undefined;
    const call = timeout.execute((context) => {
      signal = context.signal;
      return never();
    });
    const rejection = call.catch((error: unknown) => error);
    expect(signal?.aborted).toBe(false);
    await clock.advance(100);
    expect(signal?.reason).toBe(await rejection);
  });

  it("gives an aborted signal to whoever asks for it only after the limit", async () => {
    const { clock, timeout } = setup();
    const seen: boolean[] = [];
    const call = timeout.execute(async (context) => {
      await clock.sleep(150);
      seen.push(context.signal.aborted);
    });
    const rejection = expect(call).rejects.toBeInstanceOf(TimeoutError);
    await clock.advance(200);
    await rejection;
    expect(seen).toEqual([true]);
  });

  it("leaves results and errors within the limit alone and no timer behind", async () => {
    const { clock, timeout, conserved } = setup();
    await expect(timeout.execute(() => 1)).resolves.toBe(1);
    await expect(timeout.execute(() => Promise.reject(new Error("own")))).rejects.toThrow("own");
    expect(conserved()).toMatchObject({ successCount: 1, failureCount: 1, inFlightCount: 0 });
    await clock.advance(25);
    expect(clock.pendingCount).toBe(0);
  });

  it("ends each of many overlapping calls at its own limit with one timer", async () => {
    const { clock, timeout, conserved } = setup(100);
    const ends: number[] = [];
    for (let index = 0; index < 50; index += 1) {
      timeout.execute(never).catch(() => ends.push(clock.monotonicNow()));
      await clock.advance(3);
      expect(clock.pendingCount).toBeLessThanOrEqual(1);
    }
    await clock.advance(200);
    expect(ends).toEqual(Array.from({ length: 50 }, (_, index) => 100 + 3 * index));
    expect(conserved().timedOutCount).toBe(50);
    expect(clock.pendingCount).toBe(0);
  });

  it("tells the inner call its deadline, the earlier one when nested", async () => {
    const { clock, timeout } = setup(100);
    const inner = new Timeout({ timeoutMs: 500, clock });
    await timeout.execute(async (outer) => {
      expect(outer.deadlineAt).toBe(100);
      await inner.execute((context) => expect(context.deadlineAt).toBe(100), outer);
    });
  });

  it("ends an inner policy's call with the outer limit and counts it there as failed, not as timed out", async () => {
    const { clock, timeout, conserved } = setup(100);
    const inner = new Timeout({ timeoutMs: 500, clock });
    const call = timeout.execute((context) => inner.execute(never, context));
    const rejection = expect(call).rejects.toMatchObject({ timeoutMs: 100 });
    await clock.advance(100);
    await rejection;
    expect(conserved().timedOutCount).toBe(1);
    expect(inner.stats).toMatchObject({ timedOutCount: 0, failureCount: 1, inFlightCount: 0 });
    expect(clock.pendingCount).toBe(0);
  });

  it("passes the caller's abort on and counts it apart", async () => {
    const { timeout, conserved } = setup();
    const controller = new AbortController();
    const call = timeout.execute(never, { signal: controller.signal });
    controller.abort(new Error("gone"));
    await expect(call).rejects.toThrow("gone");
    expect(conserved()).toMatchObject({ abortCount: 1, timedOutCount: 0 });
  });

  it("refuses a limit that makes no sense", () => {
    expect(() => new Timeout({ timeoutMs: 0 })).toThrow(/timeout.timeoutMs/);
    expect(() => new Timeout({ timeoutMs: Number.POSITIVE_INFINITY })).toThrow(/timeout.timeoutMs/);
  });
});
