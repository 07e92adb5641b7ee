import { TimeoutError } from "@holdfast/kernel";
import { VirtualClock } from "@holdfast/kernel/testing";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { AdaptiveTimeout, type AdaptiveTimeoutOptions } from "./adaptive-timeout.ts";
import { LatencySample } from "./latency-sample.ts";

const setup = (options: AdaptiveTimeoutOptions = {}) => {
  const clock = new VirtualClock();
  const timeout = new AdaptiveTimeout({ clock, ...options });
  const take = async (ms: number) => {
    const call = timeout.execute(() => clock.sleep(ms)).catch((error: unknown) => error);
    await clock.advance(ms);
    return call;
  };
  const conserved = () => {
    const stats = timeout.stats;
    expect(stats.callCount).toBe(
      stats.successCount + stats.failureCount + stats.timedOutCount + stats.abortCount + stats.inFlightCount,
    );
    return stats;
  };
  return { clock, timeout, take, conserved };
};

describe("AdaptiveTimeout", () => {
  it("uses the initial limit before the first sample", async () => {
    const { clock, timeout } = setup();
    expect(timeout.currentMs).toBe(5_000);
    const call = timeout.execute(() => new Promise(() => undefined));
    const rejection = expect(call).rejects.toMatchObject({ timeoutMs: 5_000 });
    await clock.advance(5_000);
    await rejection;
  });

  it("follows the percentile with a fifth of headroom", async () => {
    const { timeout, take } = setup();
    for (let ms = 1; ms <= 100; ms += 1) await take(ms * 10);
    // sorted[floor(100 × 0.95)] is the 96th value.
    expect(timeout.currentMs).toBeCloseTo(1.2 * 960);
  });

  it("stays within min and max", async () => {
    const fast = setup();
    await fast.take(1);
    expect(fast.timeout.currentMs).toBe(100);
    const slow = setup({ initialMs: 900, maxMs: 1_000 });
    await slow.take(899);
    expect(slow.timeout.currentMs).toBe(1_000);
  });

  it("looks at the last 100 calls only", async () => {
    const { timeout, take, conserved } = setup();
    for (let count = 0; count < 100; count += 1) await take(2_000);
    expect(timeout.currentMs).toBeCloseTo(2_400);
    for (let count = 0; count < 100; count += 1) await take(200);
    expect(timeout.currentMs).toBeCloseTo(240);
    expect(conserved().sampledCount).toBe(100);
  });

  it("lets time-outs into the sample without ratcheting beyond the initial limit", async () => {
    const { timeout, take, conserved } = setup({ initialMs: 1_000 });
    for (let count = 0; count < 100; count += 1) await take(100);
    expect(timeout.currentMs).toBeCloseTo(120);
    for (let count = 0; count < 300; count += 1) {
      expect(await take(60_000)).toBeInstanceOf(TimeoutError);
      expect(timeout.currentMs).toBeLessThanOrEqual(1_000 + 1e-9);
    }
    expect(timeout.currentMs).toBeCloseTo(1_000);
    // Beyond that it grows with calls that really took so long.
    for (let count = 0; count < 100; count += 1) await take(950);
    expect(timeout.currentMs).toBeCloseTo(1_140);
    expect(conserved().timedOutCount).toBe(300);
  });

  it("does not learn from failures and from callers who went away", async () => {
    const { timeout, conserved } = setup();
    await expect(timeout.execute(() => Promise.reject(new Error("fast failure")))).rejects.toThrow();
    const controller = new AbortController();
    const call = timeout.execute(() => new Promise(() => undefined), { signal: controller.signal });
    controller.abort(new Error("gone"));
    await expect(call).rejects.toThrow("gone");
    expect(conserved()).toMatchObject({ sampledCount: 0, failureCount: 1, abortCount: 1 });
  });

  it("leaves no timer behind", async () => {
    const { clock, take } = setup();
    await take(5);
    expect(clock.pendingCount).toBe(0);
  });

  it.each([
    ["adaptiveTimeout.minMs", { minMs: 0 }],
    ["adaptiveTimeout.maxMs", { minMs: 10, maxMs: 9 }],
    ["adaptiveTimeout.initialMs", { initialMs: 50, minMs: 100 }],
    ["adaptiveTimeout.percentile", { percentile: 0 }],
    ["adaptiveTimeout.headroom", { headroom: 0.9 }],
    ["adaptiveTimeout.sampleCount", { sampleCount: 0 }],
  ] satisfies [
    string,
    AdaptiveTimeoutOptions,
  ][])("refuses a wrong %s at creation, naming it", (field, options) => {
    expect(() => new AdaptiveTimeout(options)).toThrow(expect.objectContaining({ field }));
  });
});

describe("LatencySample", () => {
  it("gives the same percentile as sorting the last values", () => {
    const value = fc.integer({ min: 0, max: 50 });
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 12 }),
        fc.array(value, { minLength: 1, maxLength: 60 }),
        (size, values) => {
          const sample = new LatencySample(size);
          values.forEach((latency, index) => {
            sample.add(latency);
            const last = values.slice(Math.max(0, index + 1 - size), index + 1).sort((a, b) => a - b);
            for (const percentile of [0.5, 0.95, 1]) {
              const place = Math.min(Math.floor(last.length * percentile), last.length - 1);
              expect(sample.at(percentile)).toBe(last[place]);
            }
          });
        },
      ),
    );
  });
});
