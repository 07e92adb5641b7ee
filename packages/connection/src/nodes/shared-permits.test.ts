import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { SharedPermits } from "./shared-permits.ts";

const holder = (permits: SharedPermits, idleCount = () => 0) => {
  const state = { held: 0, wakes: 0 };
  const membership = permits.join({
    wake: () => {
      state.wakes += 1;
    },
    giveUpIdle: () => {
      if (idleCount() <= 0) return false;
      state.held -= 1;
      membership.permits.give();
      return true;
    },
  });
  return {
    state,
    leave: membership.leave,
    idle: () => membership.permits.idle?.(),
    take: () => {
      const isTaken = membership.permits.take();
      if (isTaken) state.held += 1;
      return isTaken;
    },
    give: () => {
      state.held -= 1;
      membership.permits.give();
    },
  };
};

describe("SharedPermits", () => {
  it("never lets one node take what is guaranteed to another", () => {
    const permits = new SharedPermits(7);
    const [a, b, c] = [holder(permits), holder(permits), holder(permits)];
    let count = 0;
    while (a.take()) count += 1;
    // Seven less the guaranteed two of each of the others.
    expect(count).toBe(3);
    expect([b.take(), b.take(), b.take()]).toEqual([true, true, false]);
    expect([c.take(), c.take(), c.take()]).toEqual([true, true, false]);
    expect(permits.takenCount).toBe(7);
  });

  it("takes an idle connection from a node above its share for one below", () => {
    const permits = new SharedPermits(4);
    const rich = holder(permits, () => 1);
    while (rich.take());
    expect(rich.state.held).toBe(4);
    const poor = holder(permits);
    expect(poor.take()).toBe(true);
    expect(rich.state.held).toBe(3);
    expect(permits.takenCount).toBe(4);
  });

  it("wakes a node that got nothing when one above its share has an idle connection, and only then", async () => {
    const permits = new SharedPermits(1);
    let idleCount = 0;
    const rich = holder(permits, () => idleCount);
    const poor = holder(permits);
    expect(rich.take()).toBe(true);
    rich.idle();
    await Promise.resolve();
    expect(poor.state.wakes).toBe(0);
    expect(poor.take()).toBe(false);
    idleCount = 1;
    rich.idle();
    await Promise.resolve();
    expect(poor.state.wakes).toBe(1);
    expect(poor.take()).toBe(true);
  });

  it("wakes the others when a permit becomes free or a node leaves", async () => {
    const permits = new SharedPermits(2);
    const [a, b] = [holder(permits), holder(permits)];
    a.take();
    a.give();
    await Promise.resolve();
    expect(b.state.wakes).toBe(1);
    a.leave();
    await Promise.resolve();
    expect(b.state.wakes).toBe(2);
  });

  it("never hands out more than there are", () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 10 }),
        fc.array(fc.tuple(fc.nat(3), fc.boolean()), { maxLength: 80 }),
        (maxCount, steps) => {
          const permits = new SharedPermits(maxCount);
          const holders = Array.from({ length: 4 }, () => holder(permits));
          for (const [index, isTake] of steps) {
            const each = holders[index];
            if (each === undefined) continue;
            if (isTake) each.take();
            else if (each.state.held > 0) each.give();
            expect(permits.takenCount).toBe(holders.reduce((sum, { state }) => sum + state.held, 0));
            expect(permits.takenCount).toBeLessThanOrEqual(maxCount);
          }
        },
      ),
    );
  });
});
