import { VirtualClock } from "@holdfast/kernel/testing";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { Deadline, DeadlineQueue } from "./deadline-queue.ts";

class Waiting extends Deadline {
  readonly onDeadline: () => void;

  constructor(onDeadline: () => void) {
    super();
    this.onDeadline = onDeadline;
  }
}

describe("DeadlineQueue", () => {
  it("ends each wait at its own instant unless it was cancelled, and keeps no timer afterwards", async () => {
    const wait = fc.record({
      afterMs: fc.nat(50),
      waitMs: fc.constantFrom(10, 20, 35),
      cancelAfterMs: fc.option(fc.nat(60), { nil: undefined }),
    });
    await fc.assert(
      fc.asyncProperty(fc.array(wait, { maxLength: 30 }), async (waits) => {
        const clock = new VirtualClock();
        const queue = new DeadlineQueue(clock);
        const ended = new Map<number, number>();
        waits.forEach(({ afterMs, cancelAfterMs, waitMs }, index) => {
          clock.schedule(afterMs, () => {
            const waiting = new Waiting(() => ended.set(index, clock.monotonicNow()));
            queue.add(waitMs, waiting);
            if (cancelAfterMs !== undefined) clock.schedule(cancelAfterMs, () => waiting.cancelDeadline());
          });
        });
        await clock.advance(1_000);
        waits.forEach(({ afterMs, cancelAfterMs, waitMs }, index) => {
          const isCancelled = cancelAfterMs !== undefined && cancelAfterMs < waitMs;
          if (isCancelled) expect(ended.has(index)).toBe(false);
          else if (cancelAfterMs !== waitMs) expect(ended.get(index)).toBe(afterMs + waitMs);
        });
        expect(clock.pendingCount).toBe(0);
      }),
    );
  });

  it("ends waits in time that were there before one was added by a deadline", async () => {
    const clock = new VirtualClock();
    const queue = new DeadlineQueue(clock);
    const ended: string[] = [];
    const note = (name: string) => new Waiting(() => void ended.push(`${name} ${clock.monotonicNow()}`));
    queue.add(100, new Waiting(() => queue.add(100, note("third"))));
    await clock.advance(30);
    queue.add(100, note("second"));
    await clock.advance(1_000);
    expect(ended).toEqual(["second 130", "third 200"]);
  });

  it("forgets everything when it is cleared", async () => {
    const clock = new VirtualClock();
    const queue = new DeadlineQueue(clock);
    let count = 0;
    const waiting = () =>
      new Waiting(() => {
        count += 1;
      });
    queue.add(10, waiting());
    queue.add(20, waiting());
    queue.clear();
    expect(clock.pendingCount).toBe(0);
    queue.add(10, waiting());
    await clock.advance(100);
    expect(count).toBe(1);
  });

  it("keeps few timers after waits that all differed in length, and those that wait keep theirs", async () => {
    const clock = new VirtualClock();
    const queue = new DeadlineQueue(clock);
    const ended: number[] = [];
    const kept = Array.from({ length: 200 }, (_, index) => 5_000 + index);
    for (const waitMs of kept) queue.add(waitMs, new Waiting(() => void ended.push(clock.monotonicNow())));
    let pendingMaxCount = 0;
    for (let index = 0; index < 10_000; index += 1) {
      const waiting = new Waiting(() => void ended.push(Number.NaN));
      queue.add(10_000 + index / 7, waiting);
      waiting.cancelDeadline();
      pendingMaxCount = Math.max(pendingMaxCount, clock.pendingCount);
    }
    expect(pendingMaxCount).toBeLessThanOrEqual(2 * kept.length);
    await clock.advance(20_000);
    expect(ended).toEqual(kept);
    expect(clock.pendingCount).toBe(0);
  });

  it("ends each wait in time where waits of other lengths begin as it ends", async () => {
    const clock = new VirtualClock();
    const queue = new DeadlineQueue(clock);
    const ended: number[] = [];
    const first = new Waiting(() => {
      for (let index = 0; index < 1_000; index += 1) {
        const waiting = new Waiting(() => undefined);
        queue.add(500 + index, waiting);
        waiting.cancelDeadline();
      }
      // Its own length was closed meanwhile.
      queue.add(10, new Waiting(() => void ended.push(clock.monotonicNow())));
    });
    queue.add(10, first);
    await clock.advance(5_000);
    expect(ended).toEqual([20]);
    expect(clock.pendingCount).toBe(0);
  });
});
