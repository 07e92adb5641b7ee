import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { VirtualClock } from "./virtual-clock.ts";

describe("a virtual clock", () => {
  it("stands still until it is moved", async () => {
    const clock = new VirtualClock({ wallStartsAt: 1_000 });
    expect([clock.monotonicNow(), clock.wallNow()]).toEqual([0, 1_000]);
    await clock.advance(250);
    expect([clock.monotonicNow(), clock.wallNow()]).toEqual([250, 1_250]);
  });

  it("lets the wall clock jump either way while elapsed time and timers do not notice", async () => {
    const clock = new VirtualClock({ wallStartsAt: 1_000_000 });
    let fired = false;
    clock.schedule(100, () => {
      fired = true;
    });
    clock.jumpWall(-500_000);
    expect([clock.wallNow(), clock.monotonicNow(), fired]).toEqual([500_000, 0, false]);
    clock.jumpWall(86_400_000);
    await clock.advance(99);
    expect([clock.wallNow(), fired]).toEqual([86_900_099, false]);
    await clock.advance(1);
    expect(fired).toBe(true);
  });

  it("fires each timer at its own instant, those of one instant in the order in which they were set", async () => {
    const clock = new VirtualClock();
    const fired: [string, number][] = [];
    const set = (ms: number, name: string) =>
      clock.schedule(ms, () => fired.push([name, clock.monotonicNow()]));
    set(20, "late");
    set(10, "first");
    set(10, "second");
    set(-5, "at once");
    set(Number.NaN, "too");
    await clock.advance(50);
    expect(fired).toEqual([
      ["at once", 0],
      ["too", 0],
      ["first", 10],
      ["second", 10],
      ["late", 20],
    ]);
    expect(clock.monotonicNow()).toBe(50);
  });

  it("keeps that order for any timers, cancelled ones left out", async () => {
    const timers = fc.array(fc.record({ at: fc.integer({ min: 0, max: 50 }), cancelled: fc.boolean() }), {
      maxLength: 60,
    });
    await fc.assert(
      fc.asyncProperty(timers, async (plan) => {
        const clock = new VirtualClock();
        const fired: number[] = [];
        const handles = plan.map(({ at }, index) => clock.schedule(at, () => fired.push(index)));
        plan.forEach(({ cancelled }, index) => {
          if (cancelled) handles[index]?.cancel();
        });
        const expected = plan
          .map(({ at, cancelled }, index) => ({ at, cancelled, index }))
          .filter(({ cancelled }) => !cancelled)
          .sort((a, b) => a.at - b.at || a.index - b.index)
          .map(({ index }) => index);
        expect(clock.pendingCount).toBe(expected.length);
        await clock.advance(50);
        expect(fired).toEqual(expected);
        expect(clock.pendingCount).toBe(0);
      }),
      { numRuns: 100 },
    );
  });

  it("lets everything that a timer set off run before the next one, also new timers within the time", async () => {
    const clock = new VirtualClock();
    const seen: string[] = [];
    const ticking = (async () => {
      for (let tick = 1; tick <= 3; tick += 1) {
        await clock.sleep(10);
        seen.push(`tick ${tick} at ${clock.monotonicNow()}`);
      }
    })();
    clock.schedule(10, () => seen.push("other at 10"));
    await clock.advance(30);
    await ticking;
    expect(seen).toEqual(["tick 1 at 10", "other at 10", "tick 2 at 20", "tick 3 at 30"]);
  });

  it("ends an aborted sleep without moving, and leaves no timer", async () => {
    const clock = new VirtualClock();
    const controller = new AbortController();
    const sleeping = clock.sleep(1_000, { signal: controller.signal });
    controller.abort("enough");
    await expect(sleeping).rejects.toBe("enough");
    expect([clock.pendingCount, clock.monotonicNow()]).toEqual([0, 0]);
  });

  it("advances no further than a condition needs", async () => {
    const clock = new VirtualClock();
    let count = 0;
    const ticking = (async () => {
      while (count < 10) {
        await clock.sleep(7);
        count += 1;
      }
    })();
    await clock.advanceUntil(() => count === 4, 1_000);
    expect(clock.monotonicNow()).toBe(28);
    await clock.advanceUntil(() => count === 10, 1_000);
    await ticking;
  });

  it("says so when a condition does not come true in time, or nothing is left that could make it", async () => {
    const clock = new VirtualClock();
    clock.schedule(2_000, () => undefined);
    await expect(clock.advanceUntil(() => false, 1_000)).rejects.toThrow(/within 1000 virtual ms/);
    await clock.advance(2_000);
    await expect(clock.advanceUntil(() => false, 1_000)).rejects.toThrow(/no timer is left/);
  });

  it("never goes back, also when two advance it at once", async () => {
    const clock = new VirtualClock();
    await Promise.all([clock.advance(10), clock.advance(1_000)]);
    expect(clock.monotonicNow()).toBe(1_000);
    await Promise.all([clock.advance(1_000), clock.advance(10)]);
    expect(clock.monotonicNow()).toBe(2_000);
  });
});
