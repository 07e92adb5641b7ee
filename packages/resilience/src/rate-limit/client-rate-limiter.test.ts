import { VirtualClock } from "@holdfast/kernel/testing";
import { describe, expect, it } from "vitest";
import type { OverloadLevel } from "../load-shedding/overload-level.ts";
import {
  ClientRateLimiter,
  type ClientRateLimiterOptions,
  jobOperationLimits,
} from "./client-rate-limiter.ts";

const setup = (options: ClientRateLimiterOptions = {}) => {
  const clock = new VirtualClock();
  const source: { level: OverloadLevel } = { level: "healthy" };
  const limiter = new ClientRateLimiter({ source, clock, ...options });
  const conserve = (): void => {
    const stats = limiter.stats;
    expect(stats.askedCount).toBe(stats.admittedCount + stats.rateLimitedCount + stats.shedCount);
    expect(stats.createdClientCount).toBe(
      stats.clientCount + stats.evictedClientCount + stats.forgottenClientCount,
    );
  };
  return { clock, source, limiter, conserve };
};

describe("ClientRateLimiter", () => {
  const limits: [string, number][] = Object.entries(jobOperationLimits).map(([name, { limit }]) => [
    name,
    limit,
  ]);
  it.each([
    ...limits,
    ["other", 100] as [string, number],
  ])("admits %s %i times in 10 s for each client, then tells the wait", async (operation, limit) => {
    const { clock, limiter, conserve } = setup();
    for (let count = 0; count < limit; count += 1) {
      expect(limiter.tryAdmit({ client: "c", operation })).toEqual({ kind: "admitted" });
    }
    await clock.advance(4_000);
    expect(limiter.tryAdmit({ client: "c", operation })).toEqual({
      kind: "rate-limited",
      retryAfterMs: 6_000,
    });
    expect(limiter.tryAdmit({ client: "another", operation })).toEqual({ kind: "admitted" });
    await clock.advance(6_000);
    expect(limiter.tryAdmit({ client: "c", operation })).toEqual({ kind: "admitted" });
    conserve();
  });

  it("refuses low priority when busy and keeps the operation limits for the rest", () => {
    const { source, limiter } = setup();
    source.level = "busy";
    expect(limiter.tryAdmit({ client: "c", operation: "cancel", priority: "low" })).toMatchObject({
      kind: "shed",
      level: "busy",
    });
    for (let count = 0; count < 20; count += 1) limiter.admit({ client: "c", operation: "cancel" });
    expect(() => limiter.admit({ client: "c", operation: "cancel" })).toThrow(
      expect.objectContaining({ code: "RESILIENCE_RATE_LIMITED" }),
    );
  });

  it("gives a stressed node's client one window of 100 per 60 s for everything", async () => {
    const { clock, source, limiter, conserve } = setup();
    source.level = "stressed";
    for (let count = 0; count < 100; count += 1) {
      const operation = count % 2 === 0 ? "job_status" : "heartbeat";
      expect(limiter.tryAdmit({ client: "c", operation, priority: "high" }).kind).toBe("admitted");
    }
    await clock.advance(10_000);
    expect(limiter.tryAdmit({ client: "c", operation: "reconnect" })).toEqual({
      kind: "rate-limited",
      retryAfterMs: 50_000,
    });
    conserve();
  });

  it("lets only critical work through when overloaded, and critical always", () => {
    const { source, limiter } = setup();
    source.level = "overloaded";
    expect(() => limiter.admit({ client: "c", operation: "job_submit", priority: "high" })).toThrow(
      expect.objectContaining({ code: "RESILIENCE_LOAD_SHED", retryAfterMs: 1_000 }),
    );
    for (let count = 0; count < 1_000; count += 1) {
      limiter.admit({ client: "c", operation: "cancel", priority: "critical" });
    }
    source.level = "healthy";
    expect(limiter.tryAdmit({ client: "c", operation: "cancel" }).kind).toBe("admitted");
  });

  it("gives no fresh window to an operation name that somebody invents", () => {
    const { limiter } = setup({ defaultLimit: { limit: 2, windowMs: 1_000 } });
    limiter.admit({ client: "c", operation: "x1" });
    limiter.admit({ client: "c", operation: "x2" });
    expect(limiter.tryAdmit({ client: "c", operation: "x3" }).kind).toBe("rate-limited");
  });

  it("forgets idle clients and evicts the oldest at the bound", async () => {
    const { clock, limiter, conserve } = setup({ clientMaxCount: 3 });
    for (const client of ["a", "b", "c", "d"]) limiter.admit({ client, operation: "cancel" });
    expect(limiter.stats).toMatchObject({ clientCount: 3, evictedClientCount: 1 });
    await clock.advance(300_000);
    limiter.admit({ client: "e", operation: "cancel" });
    expect(limiter.stats).toMatchObject({ clientCount: 1, forgottenClientCount: 3 });
    conserve();
  });

  it("refuses an unknown priority and a wrong limit", () => {
    expect(() => setup({ limits: { x: { limit: 0, windowMs: 1 } } })).toThrow(/limit must be/);
    expect(() =>
      setup().limiter.tryAdmit({ client: "c", operation: "x", priority: "urgent" as never }),
    ).toThrow(/priority must be one of/);
  });
});
