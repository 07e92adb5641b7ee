import { createMemoryStore } from "@holdfast/coordination/memory";
import { OutcomeUnknownError, seededRandom } from "@holdfast/kernel";
import { VirtualClock } from "@holdfast/kernel/testing";
import { describe, expect, it, vi } from "vitest";
import { LeaseLostError, StoreUnavailableError } from "../errors.ts";
import { type HeldLease, LeaseKeeper } from "./lease-keeper.ts";
import type { Leases } from "./leases.ts";

const TTL_MS = 9000;

const setUp = () => {
  const clock = new VirtualClock();
  const store = createMemoryStore({ clock });
  const renew = vi.spyOn(store.leases, "renew");
  const keeper = new LeaseKeeper({
    leases: store.leases,
    ttlMs: TTL_MS,
    clock,
    random: seededRandom(1),
  });
  return {
    clock,
    leases: store.leases as Leases<unknown>,
    renew,
    keeper,
    [Symbol.asyncDispose]: () => keeper.close(),
  };
};

const held = async (keeper: LeaseKeeper, name: string): Promise<HeldLease> => {
  const outcome = await keeper.hold(name, { owner: "me" });
  if (outcome.kind === "held") throw new Error(`${name} is held by ${outcome.holder.owner}`);
  return outcome.lease;
};

describe("a lease keeper", () => {
  it("keeps a lease long past its TTL, asking every third of it", async () => {
    await using test = setUp();
    const lease = await held(test.keeper, "a");
    await test.clock.advance(10 * TTL_MS);
    expect(lease.isHeld).toBe(true);
    expect((await test.leases.read("a"))?.token).toBe(lease.token);
    expect(test.renew.mock.calls.length).toBeGreaterThanOrEqual(29);
    expect(test.renew.mock.calls.length).toBeLessThanOrEqual(31);
  });

  it("renews all leases of similar age in one call", async () => {
    await using test = setUp();
    for (let index = 0; index < 50; index += 1) {
      await held(test.keeper, `lease-${index}`);
      await test.clock.advance(10);
    }
    await test.clock.advance(TTL_MS);
    expect(test.renew.mock.calls.length).toBeLessThanOrEqual(4);
    expect(await test.leases.list("lease-")).toHaveLength(50);
  });

  it("says who holds a name that is taken", async () => {
    await using test = setUp();
    await test.leases.grant("a", { owner: "other", ttlMs: 1000 });
    expect(await test.keeper.hold("a", { owner: "me" })).toMatchObject({
      kind: "held",
      holder: { owner: "other" },
    });
    expect(test.keeper.count).toBe(0);
  });

  it("aborts the signal of a lease whose renewal is refused, and of no other", async () => {
    await using test = setUp();
    const lost = await held(test.keeper, "lost");
    const kept = await held(test.keeper, "kept");
    await test.leases.release({ name: "lost", token: lost.token });
    await test.clock.advance(TTL_MS / 3 + 1);
    expect(lost.signal.reason).toBeInstanceOf(LeaseLostError);
    expect(lost.isHeld).toBe(false);
    expect(kept.signal.aborted).toBe(false);
    expect(kept.isHeld).toBe(true);
    expect(await lost.release()).toBe(false);
  });

  it("aborts before the lease can have ended when the store does not answer", async () => {
    await using test = setUp();
    const lease = await held(test.keeper, "a");
    let abortedAt: number | undefined;
    lease.signal.addEventListener("abort", () => {
      abortedAt = test.clock.monotonicNow();
    });
    test.renew.mockRejectedValue(new StoreUnavailableError("renew"));
    await test.clock.advance(TTL_MS - 1);
    expect(abortedAt).toBe(TTL_MS * 0.9);
    expect(lease.signal.reason).toBeInstanceOf(LeaseLostError);
    expect((lease.signal.reason as LeaseLostError).cause).toBeInstanceOf(StoreUnavailableError);
    // It was still ours by the store's clock: nobody could have come in before we stopped.
    expect((await test.leases.read("a"))?.token).toBe(lease.token);
  });

  it("aborts in time when a renewal hangs for ever", async () => {
    await using test = setUp();
    const lease = await held(test.keeper, "a");
    test.renew.mockImplementation(() => new Promise(() => undefined));
    await test.clock.advance(TTL_MS * 0.9 - 1);
    expect(lease.isHeld).toBe(true);
    await test.clock.advance(1);
    expect(lease.isHeld).toBe(false);
    expect(lease.signal.aborted).toBe(true);
  });

  it("holds on when the store is back before the end", async () => {
    await using test = setUp();
    const lease = await held(test.keeper, "a");
    test.renew.mockRejectedValueOnce(new StoreUnavailableError("renew"));
    test.renew.mockRejectedValueOnce(new StoreUnavailableError("renew"));
    await test.clock.advance(3 * TTL_MS);
    expect(lease.isHeld).toBe(true);
  });

  it("counts from when a grant was asked for, not from its late answer", async () => {
    await using test = setUp();
    const grant = test.leases.grant.bind(test.leases);
    vi.spyOn(test.leases, "grant").mockImplementation(async (name, options) => {
      const outcome = await grant(name, options);
      await test.clock.sleep(5000);
      return outcome;
    });
    test.renew.mockRejectedValue(new StoreUnavailableError("renew"));
    const holding = held(test.keeper, "a");
    await test.clock.advance(5000);
    const lease = await holding;
    await test.clock.advance(TTL_MS * 0.9 - 5000);
    expect(lease.signal.aborted).toBe(true);
  });

  it("finds a grant whose answer was lost, instead of waiting for its end", async () => {
    await using test = setUp();
    const grant = test.leases.grant.bind(test.leases);
    const granting = vi.spyOn(test.leases, "grant");
    granting.mockImplementationOnce(async (name, options) => {
      await grant(name, options);
      throw new OutcomeUnknownError("grant");
    });
    const holding = held(test.keeper, "a");
    await test.clock.advance(1000);
    const lease = await holding;
    expect((await test.leases.read("a"))?.token).toBe(lease.token);
    expect(granting).toHaveBeenCalledTimes(2);
  });

  it("ends a lease on release and leaves no timer behind once the next renewal would have been due", async () => {
    await using test = setUp();
    const lease = await held(test.keeper, "a");
    expect(await lease.release()).toBe(true);
    expect(await lease.release()).toBe(false);
    expect(lease.isHeld).toBe(false);
    expect(lease.signal.aborted).toBe(false);
    expect(await test.leases.read("a")).toBeUndefined();
    await test.clock.advance(TTL_MS / 3);
    expect(test.clock.pendingCount).toBe(0);
  });

  it("releases all that it holds, and only that", async () => {
    await using test = setUp();
    await test.leases.grant("foreign", { owner: "other", ttlMs: 60_000 });
    const leases = [await held(test.keeper, "a"), await held(test.keeper, "b")];
    expect(await test.keeper.releaseAll()).toBe(2);
    expect((await test.leases.list("")).map(({ name }) => name)).toEqual(["foreign"]);
    expect(leases.map(({ isHeld }) => isHeld)).toEqual([false, false]);
    expect(await test.keeper.releaseAll()).toBe(0);
  });
});
