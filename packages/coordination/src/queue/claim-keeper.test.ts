import { createMemoryStore } from "@holdfast/coordination/memory";
import { VirtualClock } from "@holdfast/kernel/testing";
import { describe, expect, it, vi } from "vitest";
import { ClaimLostError, StoreUnavailableError, TaskCancelledError } from "../errors.ts";
import { ClaimKeeper, type KeptClaim } from "./claim-keeper.ts";
import type { ClaimedTask } from "./task-queue.ts";

const LEASE_MS = 9000;

const setUp = async (count: number) => {
  const clock = new VirtualClock();
  const queue = createMemoryStore({ clock }).queue("q");
  const renew = vi.spyOn(queue, "renew");
  const keeper = new ClaimKeeper({ queue, leaseMs: LEASE_MS, clock });
  await queue.enqueue(
    Array.from({ length: count }, (_, index) => ({
      id: `t${index}`,
      type: "a",
      payload: 1,
      group: `g${index}`,
    })),
  );
  const askedAt = clock.monotonicNow();
  const tasks = await queue.claim({ worker: "w", maxCount: count, leaseMs: LEASE_MS });
  const kept = tasks.map((task) => keeper.keep(task, { askedAt }));
  return {
    clock,
    queue,
    renew,
    keeper,
    tasks,
    kept,
    first: [tasks[0], kept[0]] as [ClaimedTask, KeptClaim],
    [Symbol.asyncDispose]: () => keeper.close(),
  };
};

describe("a claim keeper", () => {
  it("keeps work alive that takes longer than its lease, in one call for all claims", async () => {
    await using test = await setUp(100);
    for (let round = 0; round < 10; round += 1) {
      await test.clock.advance(LEASE_MS);
      expect(await test.queue.recoverLapsed()).toEqual([]);
    }
    expect(test.kept.every(({ isHeld }) => isHeld)).toBe(true);
    expect(test.renew.mock.calls.length).toBeLessThanOrEqual(31);
    for (const claim of test.kept) claim.drop();
    expect(await test.queue.complete(test.tasks)).toEqual(test.tasks.map(() => "completed"));
  });

  it("asks nothing for claims that end before a third of the lease", async () => {
    await using test = await setUp(1);
    await test.clock.advance(LEASE_MS / 3 - 1);
    test.first[1].drop();
    await test.clock.advance(LEASE_MS);
    expect(test.renew).not.toHaveBeenCalled();
    expect(test.clock.pendingCount).toBe(0);
  });

  it("aborts the claim of a cancelled task, and of no other", async () => {
    await using test = await setUp(2);
    await test.queue.cancelGroups(["g0"]);
    await test.clock.advance(LEASE_MS / 3 + 1);
    expect(test.kept[0]?.signal.reason).toBeInstanceOf(TaskCancelledError);
    expect(test.kept[1]?.signal.aborted).toBe(false);
  });

  it("aborts a claim that another worker took over", async () => {
    await using test = await setUp(1);
    const [, claim] = test.first;
    test.renew.mockRejectedValueOnce(new StoreUnavailableError("renew"));
    await test.queue.deleteGroups(["g0"]);
    await test.clock.advance(LEASE_MS / 2);
    expect(claim.signal.reason).toBeInstanceOf(ClaimLostError);
  });

  it("aborts before the lease can have ended when the store does not answer", async () => {
    await using test = await setUp(1);
    const [, claim] = test.first;
    test.renew.mockImplementation(() => new Promise(() => undefined));
    await test.clock.advance(LEASE_MS * 0.9);
    expect(claim.signal.reason).toBeInstanceOf(ClaimLostError);
    expect(await test.queue.recoverLapsed()).toEqual([]);
    await test.clock.advance(LEASE_MS * 0.1);
    expect(await test.queue.recoverLapsed()).toHaveLength(1);
  });

  it("keeps claims of different age each by its own end", async () => {
    await using test = await setUp(1);
    for (let index = 0; index < 20; index += 1) {
      await test.clock.advance(1000);
      await test.queue.enqueue([{ id: `more${index}`, type: "a", payload: 1 }]);
      const askedAt = test.clock.monotonicNow();
      for (const task of await test.queue.claim({ worker: "w", maxCount: 5, leaseMs: LEASE_MS })) {
        test.keeper.keep(task, { askedAt });
      }
    }
    await test.clock.advance(5 * LEASE_MS);
    expect(await test.queue.recoverLapsed()).toEqual([]);
    expect(test.keeper.count).toBe(21);
  });
});
