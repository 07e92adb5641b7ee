import { InvalidInputError } from "@holdfast/kernel";
import { describe, expect, it, vi } from "vitest";
import type { TasksSetUp } from "./harness.ts";
import { claim, idsOf, task } from "./task-fixtures.ts";

/** What every backend guarantees about pauses and limits. */
export const queueLimitsSuite = <Tx>(setUp: TasksSetUp<Tx>): void => {
  const many = (count: number, limitKey?: string) =>
    Array.from({ length: count }, (_, index) =>
      task(`${limitKey ?? "t"}${index}`, limitKey === undefined ? {} : { limitKey }),
    );

  describe("task queue: pauses", () => {
    it("hand out nothing until the queue goes on, while what runs is renewed, completed and retried", async () => {
      await using harness = await setUp();
      const queue = harness.store.queue("q");
      await queue.enqueue(many(4));
      const [first, second] = await claim(queue, 2);
      if (!first || !second) throw new Error("two claims expected");
      await queue.pause();
      await queue.pause();
      expect(await queue.settings()).toEqual({ paused: true, limits: undefined });
      expect((await queue.stats()).paused).toBe(true);
      expect(await claim(queue)).toEqual([]);
      expect(await queue.nextDueInMs()).toBeGreaterThan(5000);
      expect(await queue.renew([first], { leaseMs: 60_000 })).toEqual(["renewed"]);
      expect(await queue.complete([first])).toEqual(["completed"]);
      await queue.fail([{ ...second, error: "e", retryDelayMs: 0 }]);
      await queue.enqueue([task("late")]);
      expect(await queue.nextDueInMs()).toBeUndefined();
      expect(await harness.store.queue("other").settings()).toEqual({ paused: false, limits: undefined });
      await queue.resume();
      await queue.resume();
      expect(await queue.nextDueInMs()).toBe(0);
      expect(idsOf(await claim(queue)).length).toBe(4);
      expect((await queue.stats()).paused).toBe(false);
    });

    it("give back nothing of what a rate has spent", async () => {
      await using harness = await setUp();
      const queue = harness.store.queue("q");
      await queue.enqueue(many(4, "k"));
      const rate = { count: 1, perMs: 3_600_000 };
      await queue.setLimits({ rate });
      expect(await claim(queue)).toHaveLength(1);
      await queue.pause();
      await queue.resume();
      expect(await claim(queue)).toEqual([]);
      await queue.setLimits({ perKey: { rate } });
      expect(await claim(queue)).toHaveLength(1);
      await queue.pause();
      await queue.resume();
      expect(await claim(queue)).toEqual([]);
      // New limits are unspent.
      await queue.setLimits({ perKey: { rate } });
      expect(await claim(queue)).toHaveLength(1);
    });

    it("wake those who wait when they end", async () => {
      await using harness = await setUp();
      const queue = harness.store.queue("q");
      await queue.pause();
      let wakeCount = 0;
      const stop = queue.onAvailable(() => {
        wakeCount += 1;
      });
      await vi.waitFor(async () => {
        await queue.enqueue([task("probe")]);
        expect(wakeCount).toBeGreaterThan(0);
      });
      const before = wakeCount;
      await queue.resume();
      await vi.waitFor(() => expect(wakeCount).toBeGreaterThan(before));
      stop();
    });
  });

  describe("task queue: limits", () => {
    it("keep no more claims at a time than said, and let the next in when one ends", async () => {
      await using harness = await setUp();
      const queue = harness.store.queue("q");
      await queue.enqueue(many(10));
      await queue.setLimits({ concurrency: 3 });
      expect((await queue.settings()).limits).toEqual({ concurrency: 3 });
      const claimed = await claim(queue);
      expect(idsOf(claimed)).toEqual(["t0", "t1", "t2"]);
      expect(await claim(queue)).toEqual([]);
      expect(await queue.nextDueInMs()).toBeGreaterThan(5000);
      await queue.complete(claimed.slice(0, 1));
      await queue.fail(claimed.slice(1, 2).map((one) => ({ ...one, error: "e", retry: false })));
      expect(idsOf(await claim(queue))).toEqual(["t3", "t4"]);
      // What lapsed counts until somebody finds it.
      await harness.elapse(10_001);
      expect(await claim(queue)).toEqual([]);
      await queue.recoverLapsed();
      expect((await claim(queue)).length).toBe(3);
      await queue.setLimits(undefined);
      expect((await claim(queue)).length).toBe(5);
    });

    it("start no more than said in a time, refilled evenly", async () => {
      await using harness = await setUp();
      const queue = harness.store.queue("q");
      await queue.enqueue(many(30));
      await queue.setLimits({ rate: { count: 5, perMs: 1_000_000 } });
      expect((await claim(queue)).length).toBe(5);
      expect(await claim(queue)).toEqual([]);
      const dueInMs = await queue.nextDueInMs();
      expect(dueInMs).toBeLessThanOrEqual(10_000);
      await harness.elapse(200_001);
      expect((await claim(queue, 3)).length).toBe(1);
      await harness.elapse(500_000);
      expect((await claim(queue)).length).toBe(2);
      await harness.elapse(9_000_000);
      expect((await claim(queue)).length).toBe(5);
      expect(await claim(queue)).toEqual([]);
    });

    it("apply to each key by itself, and pass over tasks of full keys without losing the order of the others", async () => {
      await using harness = await setUp();
      const queue = harness.store.queue("q");
      await queue.setLimits({ perKey: { concurrency: 2 } });
      await queue.enqueue([...many(4, "a"), ...many(1, "b"), ...many(3)]);
      const claimed = await claim(queue);
      expect(idsOf(claimed)).toEqual(["a0", "a1", "b0", "t0", "t1", "t2"]);
      expect(await claim(queue)).toEqual([]);
      await queue.complete(claimed.filter(({ id }) => id === "a1" || id === "t0"));
      expect(idsOf(await claim(queue))).toEqual(["a2"]);
      await queue.setLimits({ perKey: { rate: { count: 1, perMs: 1_000_000 } } });
      await queue.enqueue(many(2, "c"));
      expect(idsOf(await claim(queue))).toEqual(["a3", "c0"]);
      await harness.elapse(1_000_001);
      await queue.recoverLapsed();
      const again = await claim(queue);
      expect(new Set(idsOf(again).map((id) => id[0]))).toEqual(new Set(["a", "b", "c", "t"]));
      expect(idsOf(again).filter((id) => id.startsWith("a")).length).toBe(1);
    });

    it("are never exceeded by many workers at once", async () => {
      await using harness = await setUp();
      const queue = harness.store.queue("q");
      await queue.enqueue([...many(60, "a"), ...many(60, "b")]);
      await queue.setLimits({ concurrency: 12, perKey: { concurrency: 8 } });
      const claims = (await Promise.all(Array.from({ length: 10 }, () => claim(queue, 7)))).flat();
      expect(claims.length).toBe(12);
      for (const key of ["a", "b"]) {
        expect(claims.filter(({ id }) => id.startsWith(key)).length).toBeLessThanOrEqual(8);
      }
      expect((await queue.stats()).claimed).toBe(12);
    });

    it("refuse what is not a limit", async () => {
      await using harness = await setUp();
      const queue = harness.store.queue("q");
      for (const limits of [
        { concurrency: 0 },
        { concurrency: 1.5 },
        { rate: { count: 1, perMs: Number.NaN } },
        { perKey: { rate: { count: -1, perMs: 1000 } } },
      ]) {
        await expect(queue.setLimits(limits)).rejects.toThrow(InvalidInputError);
      }
      expect(await queue.settings()).toEqual({ paused: false, limits: undefined });
    });
  });
};
