import { InvalidInputError } from "@holdfast/kernel";
import { describe, expect, it } from "vitest";
import { PayloadTooLargeError } from "../errors.ts";
import type { TasksSetUp } from "./harness.ts";
import { claim, claimOne, idsOf, task } from "./task-fixtures.ts";

/** What every backend guarantees about backoffs, dedupe windows, dependencies, progress and what is kept. */
export const taskFeaturesSuite = <Tx>(setUp: TasksSetUp<Tx>): void => {
  describe("task queue: backoffs", () => {
    it.each([
      ["fixed", { factor: 1 }, [1000, 1000, 1000]],
      ["linear", { kind: "linear", factor: 1 }, [1000, 2000, 3000]],
      ["exponential", { kind: "exponential", factor: 3 }, [1000, 3000, 9000]],
      ["fibonacci", { kind: "fibonacci", capMs: 1500 }, [1000, 1000, 1500]],
    ] as const)("wait as a %s one says, to the millisecond without jitter", async (_name, backoff, waits) => {
      await using harness = await setUp();
      const queue = harness.store.queue("q");
      await queue.enqueue([task("a", { maxAttempts: 9, backoff: { jitter: "none", ...backoff } })]);
      for (const waitMs of waits) {
        const [failed] = await queue.fail([{ ...(await claimOne(queue)), error: "e" }]);
        expect(failed?.retryInMs).toBeCloseTo(waitMs, 1);
        await harness.elapse(waitMs + 1);
      }
    });

    it("spread over the whole wait with full jitter, and grow from the wait before when decorrelated", async () => {
      await using harness = await setUp();
      const queue = harness.store.queue("q");
      await queue.enqueue([
        task("full", { maxAttempts: 50, backoff: { jitter: "full", factor: 1 } }),
        task("decorrelated", { maxAttempts: 50, backoff: { kind: "decorrelated", baseMs: 10, capMs: 500 } }),
      ]);
      const waits: Record<string, number[]> = { full: [], decorrelated: [] };
      for (let round = 0; round < 20; round += 1) {
        const claimed = await claim(queue);
        const failed = await queue.fail(claimed.map((one) => ({ ...one, error: "e" })));
        claimed.forEach(({ id }, index) => {
          waits[id]?.push(failed[index]?.retryInMs ?? Number.NaN);
        });
        await harness.elapse(1001);
      }
      expect(Math.min(...(waits.full ?? []))).toBeLessThan(500);
      expect(Math.max(...(waits.full ?? []))).toBeGreaterThan(500);
      let last = 10;
      for (const wait of waits.decorrelated ?? []) {
        expect(wait).toBeGreaterThanOrEqual(10 - 0.01);
        expect(wait).toBeLessThanOrEqual(Math.min(500, 3 * last) + 0.01);
        last = wait;
      }
    });
  });

  describe("task queue: what is kept", () => {
    it("leaves nothing of a completed task that is not to be kept, and buries it like any other", async () => {
      await using harness = await setUp();
      const queue = harness.store.queue("q");
      await queue.enqueue(
        ["a", "b", "c"].map((id) => task(id, { keepCompleted: false, group: "g", dedupeKey: id })),
      );
      const [a, b, c] = await claim(queue);
      if (!a || !b || !c) throw new Error("three claims expected");
      expect(await queue.complete([{ ...a, result: 1 }, a])).toEqual(["completed", "stale"]);
      expect(await queue.get("a")).toBeUndefined();
      expect(await queue.complete([a])).toEqual(["stale"]);
      expect(await queue.enqueue([task("a", { dedupeKey: "a" })])).toEqual(["a"]);
      await queue.fail([{ ...b, error: "e", retry: false }]);
      expect(await queue.get("b")).toMatchObject({ state: "dead", failures: [{ error: "e" }] });
      await queue.fail([{ ...c, error: "e", retryDelayMs: 0 }]);
      const again = (await claim(queue)).find(({ id }) => id === "c");
      if (!again) throw new Error("a claim expected");
      expect(again.attempt).toBe(2);
      expect(await queue.complete([again])).toEqual(["completed"]);
      expect(idsOf(await queue.list({}))).toEqual(["a", "b"]);
      expect(await queue.stats()).toMatchObject({ claimed: 1, dead: 1, completed: 0, total: 2 });
    });

    it("hands a task's own timeout to whoever claims it", async () => {
      await using harness = await setUp();
      const queue = harness.store.queue("q");
      await queue.enqueue([task("a", { timeoutMs: 1234 }), task("b")]);
      expect((await claim(queue)).map(({ timeoutMs }) => timeoutMs)).toEqual([1234, undefined]);
    });

    it("records progress of the newest claim only, the last of it, up to 4 KiB", async () => {
      await using harness = await setUp();
      const queue = harness.store.queue("q");
      await queue.enqueue([task("a"), task("b", { keepCompleted: false })]);
      const [a, b] = await claim(queue);
      if (!a || !b) throw new Error("two claims expected");
      expect(
        await queue.reportProgress([
          { ...a, progress: { done: 1 } },
          { ...b, progress: 50 },
          { id: "a", token: a.token + 1n, progress: "stolen" },
          { id: "unknown", token: 1n, progress: 1 },
        ]),
      ).toEqual(["recorded", "recorded", "stale", "stale"]);
      await queue.reportProgress([{ ...a, progress: { done: 2 } }]);
      expect((await queue.get("a"))?.progress).toEqual({ done: 2 });
      await queue.complete([a, b]);
      expect((await queue.get("a"))?.progress).toEqual({ done: 2 });
      expect(await queue.reportProgress([{ ...a, progress: 3 }])).toEqual(["stale"]);
      await expect(queue.reportProgress([{ ...a, progress: "x".repeat(5000) }])).rejects.toThrow(
        PayloadTooLargeError,
      );
      await queue.enqueue([task("b")]);
      expect((await queue.get("b"))?.progress).toBeUndefined();
    });
  });

  describe("task queue: dedupe windows", () => {
    it("count for their time whatever becomes of the task, and then no longer", async () => {
      await using harness = await setUp();
      const queue = harness.store.queue("q");
      const add = (id: string, dedupeWindowMs?: number): Promise<readonly string[]> =>
        queue.enqueue([
          task(id, { dedupeKey: "k", ...(dedupeWindowMs === undefined ? {} : { dedupeWindowMs }) }),
        ]);
      expect(await add("a", 60_000)).toEqual(["a"]);
      await queue.complete([await claimOne(queue)]);
      expect(await add("b", 60_000)).toEqual(["a"]);
      expect(await add("c")).toEqual(["a"]);
      await harness.elapse(60_001);
      expect(await add("d", 60_000)).toEqual(["d"]);
      // The task that lives longer than its window still counts.
      await harness.elapse(60_001);
      expect(await add("e", 60_000)).toEqual(["d"]);
      await expect(queue.enqueue([task("f", { dedupeWindowMs: 1 })])).rejects.toThrow(InvalidInputError);
    });

    it("are told apart also where one call names a task twice", async () => {
      await using harness = await setUp();
      const queue = harness.store.queue("q");
      const twice = task("a", { dedupeKey: "k", dedupeWindowMs: 60_000 });
      expect(
        await queue.enqueue([twice, twice, task("a", { dedupeKey: "l", dedupeWindowMs: 60_000 })]),
      ).toEqual(["a", "a", "a"]);
      expect((await queue.stats()).total).toBe(1);
      expect(await queue.enqueue([task("b", { dedupeKey: "l" })])).toEqual(["b"]);
    });
  });

  describe("task queue: dependencies", () => {
    it("hold a task back until all that it waits for completed, in chains and diamonds of one call", async () => {
      await using harness = await setUp();
      const queue = harness.store.queue("q");
      await queue.enqueue([
        task("join", { after: ["left", "right", "left", "never-heard-of"] }),
        task("left", { after: ["first"] }),
        task("right", { after: ["first"] }),
        task("first"),
      ]);
      expect(await queue.stats()).toMatchObject({ waiting: 3, pending: 1, total: 4 });
      expect((await queue.get("join"))?.state).toBe("waiting");
      expect(idsOf(await queue.list({ states: ["waiting"] }))).toEqual(["join", "left", "right"]);
      const order: string[] = [];
      for (;;) {
        const claimed = await claim(queue);
        if (claimed.length === 0) break;
        order.push(idsOf(claimed).toSorted().join("+"));
        await queue.complete(claimed);
      }
      expect(order).toEqual(["first", "left+right", "join"]);
      expect(await queue.enqueue([task("late", { after: ["first", "join"] })])).toEqual(["late"]);
      expect(idsOf(await claim(queue))).toEqual(["late"]);
    });

    it("go on when the dependency was not to be kept, or was deleted", async () => {
      await using harness = await setUp();
      const queue = harness.store.queue("q");
      await queue.enqueue([
        task("a", { keepCompleted: false }),
        task("b", { group: "g", delayMs: 3_600_000 }),
      ]);
      await queue.enqueue([task("after-a", { after: ["a"] }), task("after-b", { after: ["b"] })]);
      expect(idsOf(await claim(queue))).toEqual(["a"]);
      await harness.elapse(10_001);
      await queue.recoverLapsed();
      await queue.complete([await claimOne(queue)]);
      expect(idsOf(await claim(queue))).toEqual(["after-a"]);
      expect(await queue.deleteGroups(["g"])).toBe(1);
      expect(idsOf(await claim(queue))).toEqual(["after-b"]);
    });

    it("hold on when it died, until it is requeued and completes; any end will do where that was said", async () => {
      await using harness = await setUp();
      const queue = harness.store.queue("q");
      await queue.enqueue([
        task("a", { maxAttempts: 1 }),
        task("b", { group: "g", delayMs: 3_600_000 }),
        task("strict", { after: ["a"] }),
        task("any", { after: ["a", "b"], afterEnd: "any" }),
      ]);
      await queue.fail([{ ...(await claimOne(queue)), error: "e" }]);
      expect(await claim(queue)).toEqual([]);
      await queue.cancelGroups(["g"]);
      expect(idsOf(await claim(queue))).toEqual(["any"]);
      await queue.enqueue([
        task("late", { after: ["a"] }),
        task("late-any", { after: ["a"], afterEnd: "any" }),
      ]);
      expect(idsOf(await claim(queue))).toEqual(["late-any"]);
      expect(await queue.requeueDead(["a"])).toEqual(["a"]);
      const [again] = await claim(queue);
      expect(again?.id).toBe("a");
      if (again) await queue.complete([again]);
      expect(idsOf(await claim(queue))).toEqual(["strict", "late"]);
    });

    it("leave a delay, a priority, a group and a dedupe key of the waiting task in force", async () => {
      await using harness = await setUp();
      const queue = harness.store.queue("q");
      await queue.enqueue([
        task("a"),
        task("delayed", { after: ["a"], delayMs: 60_000 }),
        task("high", { after: ["a"], priority: "high", dedupeKey: "k" }),
        task("gone", { after: ["a"], group: "g" }),
        task("low", { after: ["a"], priority: "low" }),
      ]);
      expect(await queue.enqueue([task("again", { dedupeKey: "k" })])).toEqual(["high"]);
      expect(await queue.cancelGroups(["g"])).toBe(1);
      await queue.complete([await claimOne(queue)]);
      expect(idsOf(await claim(queue))).toEqual(["high", "low"]);
      await harness.elapse(60_001);
      expect(idsOf(await claim(queue))).toEqual(["delayed"]);
    });

    it("are released once by many completions at the same time", async () => {
      await using harness = await setUp();
      const queue = harness.store.queue("q");
      const parts = Array.from({ length: 40 }, (_, index) => `part-${index}`);
      await queue.enqueue([...parts.map((id) => task(id)), task("all", { after: parts })]);
      const claims = await claim(queue);
      await Promise.all(
        [0, 1, 2, 3].map((worker) => queue.complete(claims.filter((_, index) => index % 4 === worker))),
      );
      expect(idsOf(await claim(queue))).toEqual(["all"]);
      expect(await queue.stats()).toMatchObject({ waiting: 0, claimed: 1, completed: 40 });
    });
  });
};
