import { VirtualClock } from "@holdfast/kernel/testing";
import { describe, expect, it } from "vitest";
import { RateLimitedError } from "../errors.ts";
import { CooperativeThrottle, type CooperativeThrottleOptions } from "./cooperative-throttle.ts";

const setup = (options: CooperativeThrottleOptions = {}) => {
  const clock = new VirtualClock();
  const throttle = new CooperativeThrottle({ clock, ...options });
  const starts: number[] = [];
  /** A server that refuses the first so many calls with this pause. */
  const server = (refusals: number, retryAfterMs: number) => {
    let left = refusals;
    return async () => {
      starts.push(clock.monotonicNow());
      if (left-- > 0) throw new RateLimitedError("server", { retryAfterMs });
      return "done";
    };
  };
  const conserved = () => {
    const stats = throttle.stats;
    expect(stats.callCount).toBe(
      stats.successCount + stats.failureCount + stats.refusedCount + stats.abortCount + stats.inFlightCount,
    );
    return stats;
  };
  return { clock, throttle, starts, server, conserved };
};

describe("CooperativeThrottle", () => {
  it("waits for as long as the server asks, longer after each refusal in a row", async () => {
    const { clock, throttle, starts, server, conserved } = setup();
    const call = throttle.execute("submit", server(3, 1_000));
    await clock.advance(20_000);
    await expect(call).resolves.toBe("done");
    expect(starts).toEqual([0, 1_000, 2_500, 4_750]);
    expect(conserved()).toMatchObject({ successCount: 1, attemptCount: 4 });
  });

  it("gives the server's refusal to the caller after three further tries", async () => {
    const { clock, throttle, starts, server, conserved } = setup();
    const call = throttle.execute("submit", server(9, 100)).catch((error: unknown) => error);
    await clock.advance(20_000);
    expect(await call).toBeInstanceOf(RateLimitedError);
    expect(starts).toHaveLength(4);
    expect(conserved().refusedCount).toBe(1);
  });

  it("lets no other call of the operation out while it is blocked, and leaves other operations alone", async () => {
    const { clock, throttle, starts, server } = setup();
    const first = throttle.execute("submit", server(1, 1_000));
    await clock.advance(10);
    expect(throttle.blockedForMs("submit")).toBe(990);
    expect(throttle.blockedForMs("status")).toBe(0);
    await throttle.execute("status", server(0, 0));
    const second = throttle.execute("submit", server(0, 0));
    await clock.advance(990);
    await Promise.all([first, second]);
    expect(starts).toEqual([0, 10, 1_000, 1_000]);
  });

  it("takes refusals of calls that went out side by side for one", async () => {
    const { clock, throttle, server } = setup();
    const body = server(5, 1_000);
    const calls = Array.from({ length: 5 }, () => throttle.execute("submit", body));
    await clock.advance(0);
    expect(throttle.blockedForMs("submit")).toBe(1_000);
    await clock.advance(1_000);
    await Promise.all(calls);
    expect(throttle.stats.attemptCount).toBe(10);
  });

  it("takes a pause that is no time for none, and still holds back after the next that is one", async () => {
    const { clock, throttle, starts, server, conserved } = setup();
    for (const pause of [Number.NaN, -1])
      await expect(throttle.execute("submit", server(1, pause))).rejects.toBeInstanceOf(RateLimitedError);
    const call = throttle.execute("submit", server(1, 1_000));
    await clock.advance(5_000);
    await expect(call).resolves.toBe("done");
    expect(starts).toEqual([0, 0, 0, 1_000]);
    expect(conserved()).toMatchObject({ failureCount: 2, successCount: 1 });
  });

  it("does not wait longer in all than allowed", async () => {
    const { clock, throttle, server, conserved } = setup({ waitTotalMaxMs: 2_000 });
    const call = throttle.execute("submit", server(9, 1_500)).catch((error: unknown) => error);
    await clock.advance(1_500);
    expect(await call).toBeInstanceOf(RateLimitedError);
    expect(clock.monotonicNow()).toBe(1_500);
    const far = throttle.execute("other", server(1, 100_000)).catch((error: unknown) => error);
    await clock.advance(0);
    await far;
    const later = throttle.execute("other", server(0, 0)).catch((error: unknown) => error);
    await clock.advance(0);
    expect(await later).toMatchObject({ code: "RESILIENCE_RATE_LIMITED", retryAfterMs: 100_000 });
    expect(conserved().refusedCount).toBe(3);
  });

  it("ends a wait when the caller goes away and passes other errors at once", async () => {
    const { clock, throttle, server, conserved } = setup();
    const controller = new AbortController();
    const call = throttle.execute("submit", server(1, 1_000), { signal: controller.signal });
    const rejection = expect(call).rejects.toThrow("gone");
    await clock.advance(10);
    controller.abort(new Error("gone"));
    await rejection;
    expect(clock.pendingCount).toBe(0);
    await expect(throttle.execute("x", () => Promise.reject(new TypeError("bug")))).rejects.toThrow("bug");
    expect(conserved()).toMatchObject({ abortCount: 1, failureCount: 1 });
  });

  it("refuses numbers out of range, naming them", () => {
    expect(() => setup({ retryMaxCount: -1 })).toThrow(/throttle.retryMaxCount/);
    expect(() => setup({ waitTotalMaxMs: -1 })).toThrow(/throttle.waitTotalMaxMs/);
    expect(() => setup({ factor: 0.5 })).toThrow(/throttle.factor/);
  });
});
