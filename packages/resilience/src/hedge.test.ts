import { VirtualClock } from "@holdfast/kernel/testing";
import { describe, expect, it } from "vitest";
import type { CallContext } from "./execution/policy.ts";
import { Hedge, type HedgeOptions } from "./hedge.ts";

const setup = (options: HedgeOptions = {}) => {
  const clock = new VirtualClock();
  const hedge = new Hedge({ clock, warmUpCount: 20, share: 1, ...options });
  const settle = async <T>(call: Promise<T>, ms: number): Promise<T | unknown> => {
    const settled = call.catch((error: unknown) => error);
    await clock.advance(ms);
    return settled;
  };
  const warmUp = async (ms = 50) => {
    for (let count = 0; count < 20; count += 1)
      await settle(
        hedge.execute(() => clock.sleep(ms)),
        ms,
      );
  };
  const conserved = () => {
    const stats = hedge.stats;
    expect(stats.callCount).toBe(
      stats.primaryWinCount +
        stats.hedgeWinCount +
        stats.failureCount +
        stats.abortCount +
        stats.inFlightCount,
    );
    return stats;
  };
  return { clock, hedge, settle, warmUp, conserved };
};

/** A body whose two copies take these times. */
const copies = (clock: VirtualClock, primaryMs: number, hedgeMs: number, signals: AbortSignal[] = []) => {
  return async (context: CallContext) => {
    signals.push(context.signal);
    await clock.sleep(context.isHedge ? hedgeMs : primaryMs, { signal: context.signal });
    return context.isHedge ? "hedge" : "primary";
  };
};

describe("Hedge", () => {
  it("starts no copy before it knows what is slow", async () => {
    const { clock, hedge, settle } = setup();
    expect(hedge.stats.delayMs).toBeUndefined();
    expect(await settle(hedge.execute(copies(clock, 10_000, 1)), 10_000)).toBe("primary");
    expect(hedge.stats.hedgeCount).toBe(0);
  });

  it("answers with the copy when the first is slow, and aborts the first", async () => {
    const { clock, hedge, settle, warmUp, conserved } = setup();
    await warmUp(50);
    expect(hedge.stats.delayMs).toBe(50);
    const signals: AbortSignal[] = [];
    expect(await settle(hedge.execute(copies(clock, 10_000, 5, signals)), 55)).toBe("hedge");
    expect(signals.map((signal) => signal.aborted)).toEqual([true, false]);
    expect(clock.pendingCount).toBe(0);
    expect(conserved()).toMatchObject({ hedgeWinCount: 1, hedgeCount: 1, primaryWinCount: 20 });
  });

  it("answers with the first when that still wins, and aborts the copy", async () => {
    const { clock, hedge, settle, warmUp, conserved } = setup();
    await warmUp(50);
    const signals: AbortSignal[] = [];
    expect(await settle(hedge.execute(copies(clock, 60, 500, signals)), 60)).toBe("primary");
    expect(signals.map((signal) => signal.aborted)).toEqual([false, true]);
    expect(conserved()).toMatchObject({ hedgeCount: 1, hedgeWinCount: 0 });
  });

  it("never starts a copy sooner than the least delay", async () => {
    const { hedge, warmUp } = setup();
    await warmUp(1);
    expect(hedge.stats.delayMs).toBe(20);
  });

  it("waits for the other copy when one fails, and throws the first failure when both do", async () => {
    const { clock, hedge, settle, warmUp, conserved } = setup();
    await warmUp(50);
    const onePasses = hedge.execute(async ({ isHedge }) => {
      await clock.sleep(60);
      if (!isHedge) throw new Error("primary down");
      return "hedge";
    });
    expect(await settle(onePasses, 200)).toBe("hedge");
    const bothFail = hedge.execute(async ({ isHedge }) => {
      await clock.sleep(100);
      throw new Error(isHedge ? "hedge down" : "primary down");
    });
    expect(await settle(bothFail, 300)).toMatchObject({ message: "primary down" });
    expect(conserved().failureCount).toBe(1);
    expect(clock.pendingCount).toBe(0);
  });

  it("fails at once when the first fails before its copy started", async () => {
    const { clock, hedge, settle, warmUp } = setup();
    await warmUp(50);
    const call = hedge.execute(() => Promise.reject(new Error("down")));
    expect(await settle(call, 0)).toMatchObject({ message: "down" });
    expect(clock.pendingCount).toBe(0);
  });

  it("adds no more than its share to the load, however slow everything is", async () => {
    const { clock, hedge, settle, warmUp, conserved } = setup({ share: 0.05 });
    await warmUp(50);
    for (let count = 0; count < 500; count += 1) {
      await settle(hedge.execute(copies(clock, 90 + count, 90 + count)), 700);
      const stats = conserved();
      expect(stats.hedgeCount).toBeLessThanOrEqual(0.05 * stats.callCount + 1e-6);
    }
    expect(hedge.stats.hedgeCount).toBeGreaterThan(5);
    expect(hedge.stats.deniedCount).toBeGreaterThan(0);
  });

  it("starts no copy of a call that is not safe to run twice", async () => {
    const { clock, hedge, settle, warmUp } = setup();
    await warmUp(50);
    expect(await settle(hedge.execute(copies(clock, 500, 1), { idempotent: false }), 500)).toBe("primary");
    expect(hedge.stats.hedgeCount).toBe(0);
  });

  it("ends both copies when the caller goes away", async () => {
    const { clock, hedge, warmUp, conserved } = setup();
    await warmUp(50);
    const controller = new AbortController();
    const signals: AbortSignal[] = [];
    const call = hedge.execute(copies(clock, 500, 500, signals), { signal: controller.signal });
    const rejection = expect(call).rejects.toThrow("gone");
    await clock.advance(60);
    controller.abort(new Error("gone"));
    await rejection;
    expect(signals.map((signal) => signal.aborted)).toEqual([true, true]);
    expect(clock.pendingCount).toBe(0);
    expect(conserved().abortCount).toBe(1);
  });

  it.each([
    ["hedge.percentile", { percentile: 1 }],
    ["hedge.delayMinMs", { delayMinMs: 0 }],
    ["hedge.share", { share: 1.5 }],
    ["hedge.burstMaxCount", { burstMaxCount: 0 }],
    ["hedge.warmUpCount", { sampleCount: 5, warmUpCount: 6 }],
  ] satisfies [string, HedgeOptions][])("refuses a wrong %s at creation, naming it", (field, options) => {
    expect(() => new Hedge(options)).toThrow(expect.objectContaining({ field }));
  });
});
