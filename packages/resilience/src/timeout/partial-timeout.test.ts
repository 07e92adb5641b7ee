import { OverloadedError, TimeoutError } from "@holdfast/kernel";
import { VirtualClock } from "@holdfast/kernel/testing";
import { describe, expect, it } from "vitest";
import { PartialTimeout, type PartialTimeoutOptions } from "./partial-timeout.ts";

const setup = (options: Partial<PartialTimeoutOptions> = {}) => {
  const clock = new VirtualClock();
  const partial = new PartialTimeout({ timeoutMs: 100, clock, ...options });
  /** Adds an item every 30 ms. */
  const ticking = (count: number) => async (_context: unknown, add: (item: number) => void) => {
    for (let item = 1; item <= count; item += 1) {
      await clock.sleep(30);
      add(item);
    }
  };
  const conserved = () => {
    const stats = partial.stats;
    expect(stats.callCount).toBe(
      stats.completeCount +
        stats.partialCount +
        stats.timedOutCount +
        stats.failureCount +
        stats.abortCount +
        stats.inFlightCount,
    );
    return stats;
  };
  return { clock, partial, ticking, conserved };
};

describe("PartialTimeout", () => {
  it("returns everything when the collector ends in time", async () => {
    const { clock, partial, ticking, conserved } = setup();
    const call = partial.collect(ticking(3));
    await clock.advance(90);
    await expect(call).resolves.toEqual({ items: [1, 2, 3], timedOut: false });
    expect(conserved().completeCount).toBe(1);
  });

  it("returns what has come by the limit, marked as timed out, and aborts the collector", async () => {
    const { clock, partial, conserved } = setup();
    let signal: AbortSignal | undefined;
    const call = partial.collect<number>(async (context, add) => {
      signal = context.signal;
      for (let item = 1; ; item += 1) {
        await clock.sleep(30, { signal });
        add(item);
      }
    });
    await clock.advance(100);
    await expect(call).resolves.toEqual({ items: [1, 2, 3], timedOut: true });
    expect(signal?.aborted).toBe(true);
    expect(conserved().partialCount).toBe(1);
    expect(clock.pendingCount).toBe(0);
  });

  it("does not change a result after it was returned", async () => {
    const { clock, partial, ticking } = setup();
    const call = partial.collect(ticking(10));
    await clock.advance(100);
    const result = await call;
    await clock.advance(1_000);
    expect(result.items).toEqual([1, 2, 3]);
  });

  it("throws at the limit when partial results are off", async () => {
    const { clock, partial, ticking, conserved } = setup({ returnPartial: false, name: "search" });
    const call = partial.collect(ticking(10));
    const rejection = expect(call).rejects.toMatchObject({ operation: "search", timeoutMs: 100 });
    await clock.advance(100);
    await rejection;
    await expect(call).rejects.toBeInstanceOf(TimeoutError);
    expect(conserved().timedOutCount).toBe(1);
  });

  it("throws what the collector throws before the limit", async () => {
    const { partial, conserved } = setup();
    await expect(
      partial.collect((_context, add) => {
        add(1);
        throw new Error("broken");
      }),
    ).rejects.toThrow("broken");
    expect(conserved().failureCount).toBe(1);
  });

  it("fails a collector that adds more than the bound and aborts it", async () => {
    const { partial, conserved } = setup({ itemMaxCount: 2 });
    let signal: AbortSignal | undefined;
    const call = partial.collect<number>((context, add) => {
      signal = context.signal;
      for (let item = 0; item < 5; item += 1) add(item);
    });
    await expect(call).rejects.toBeInstanceOf(OverloadedError);
    expect(signal?.aborted).toBe(true);
    expect(conserved().failureCount).toBe(1);
  });

  it("throws the caller's reason when the caller aborts, not a part", async () => {
    const { clock, partial, ticking, conserved } = setup();
    const controller = new AbortController();
    const call = partial.collect(ticking(10), { signal: controller.signal });
    const rejection = expect(call).rejects.toThrow("gone");
    await clock.advance(50);
    controller.abort(new Error("gone"));
    await rejection;
    expect(conserved().abortCount).toBe(1);
  });
});
