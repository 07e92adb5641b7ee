import { createMemoryStore } from "@holdfast/coordination/memory";
import { ClosedError, deferred, silentLogger } from "@holdfast/kernel";
import { VirtualClock } from "@holdfast/kernel/testing";
import { describe, expect, it, vi } from "vitest";
import { LeaseKeeper } from "./lease-keeper.ts";
import { RenewalKeeper, type RenewalResult } from "./renewal-keeper.ts";

const TTL_MS = 30_000;

const keeperOf = (
  clock: VirtualClock,
  renew: (refs: readonly string[]) => Promise<readonly RenewalResult[]>,
) =>
  new RenewalKeeper<string>({
    name: "tests",
    ttlMs: TTL_MS,
    clock,
    logger: silentLogger,
    renew,
    unconfirmed: (ref) => new Error(`${ref} was given up`),
  });

describe("a renewal that hangs", () => {
  it("holds up neither the renewal nor the giving up of what was kept meanwhile", async () => {
    const clock = new VirtualClock();
    let hangs = true;
    const renew = vi.fn((refs: readonly string[]) =>
      hangs ? new Promise<never>(() => undefined) : Promise.resolve(refs.map(() => "renewed" as const)),
    );
    await using keeper = keeperOf(clock, renew);
    keeper.keep("old", { askedAt: clock.monotonicNow() });
    await clock.advance(TTL_MS / 3 + 1);
    expect(renew).toHaveBeenCalledTimes(1);
    // As a lock that was handed over: for two seconds only.
    const lost = keeper.keep("lost", { askedAt: clock.monotonicNow(), termMs: 2000 });
    await clock.advance(2000 * 0.9);
    expect(lost.signal.aborted).toBe(true);
    hangs = false;
    const kept = keeper.keep("kept", { askedAt: clock.monotonicNow(), termMs: 2000 });
    await clock.advance(2000);
    expect(kept.isHeld).toBe(true);
  });

  it("is repeated while there is time, so that a broken way to the store costs nothing that is held", async () => {
    const clock = new VirtualClock();
    const renew = vi.fn((refs: readonly string[]) => Promise.resolve(refs.map(() => "renewed" as const)));
    renew.mockImplementationOnce(() => new Promise(() => undefined));
    await using keeper = keeperOf(clock, renew);
    const kept = keeper.keep("a", { askedAt: clock.monotonicNow() });
    await clock.advance(TTL_MS);
    expect(renew.mock.calls.length).toBeGreaterThan(1);
    expect(kept.isHeld).toBe(true);
    expect(kept.signal.aborted).toBe(false);
  });
});

const setUp = () => {
  const clock = new VirtualClock();
  const { leases } = createMemoryStore({ clock });
  const keeper = new LeaseKeeper({ leases, ttlMs: TTL_MS, clock });
  const hold = async () => {
    const outcome = await keeper.hold("a", { owner: "me" });
    if (outcome.kind === "held") throw new Error("a is held");
    return outcome.lease;
  };
  return { clock, leases, keeper, hold };
};

describe("an extension of a lease", () => {
  it("is not taken back by a renewal that was due while its answer was on the way", async () => {
    const { clock, leases, keeper, hold } = setUp();
    const lease = await hold();
    const renew = leases.renew.bind(leases);
    const answer = deferred<void>();
    vi.spyOn(leases, "renew").mockImplementationOnce(async (...args) => {
      const renewed = await renew(...args);
      await answer.promise;
      return renewed;
    });
    await clock.advance(TTL_MS / 3 - 1);
    const extending = lease.extend({ ttlMs: 2 * TTL_MS });
    await clock.advance(1000);
    answer.resolve();
    expect(await extending).toBe(true);
    await clock.advance(TTL_MS + 1000);
    expect(lease.isHeld).toBe(true);
    expect((await leases.read("a"))?.token).toBe(lease.token);
    await keeper.close();
  });

  it("waits for the answer of a renewal that is under way: the store may take that one last", async () => {
    const { clock, leases, keeper, hold } = setUp();
    const lease = await hold();
    const renew = leases.renew.bind(leases);
    const late = deferred<void>();
    vi.spyOn(leases, "renew").mockImplementationOnce(async (...args) => {
      await late.promise;
      return renew(...args);
    });
    await clock.advance(TTL_MS / 3);
    const extending = lease.extend({ ttlMs: 2 * TTL_MS });
    await clock.advance(100);
    late.resolve();
    expect(await extending).toBe(true);
    await clock.advance(TTL_MS + 1000);
    expect((await leases.read("a"))?.token).toBe(lease.token);
    await keeper.close();
  });

  it("to a short time is kept by renewals in that time, and costs no lease", async () => {
    const { clock, leases, keeper, hold } = setUp();
    const lease = await hold();
    expect(await lease.extend({ ttlMs: 300 })).toBe(true);
    await clock.advance(2 * TTL_MS);
    expect(lease.signal.aborted).toBe(false);
    expect((await leases.read("a"))?.token).toBe(lease.token);
    await keeper.close();
  });
});

describe("a keeper that is closed", () => {
  it("gives back what it is granted by then, since nobody would renew it or tell of its loss", async () => {
    const { leases, keeper } = setUp();
    const grant = leases.grant.bind(leases);
    const answer = deferred<void>();
    vi.spyOn(leases, "grant").mockImplementationOnce(async (...args) => {
      const outcome = await grant(...args);
      await answer.promise;
      return outcome;
    });
    const holding = keeper.hold("a", { owner: "me" });
    const closing = keeper.shutDown();
    answer.resolve();
    await expect(holding).rejects.toThrow(ClosedError);
    await closing;
    expect(await leases.read("a")).toBeUndefined();
    await expect(keeper.hold("a", { owner: "me" })).rejects.toThrow(ClosedError);
  });
});
