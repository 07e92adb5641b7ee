import { hasCode, InvalidInputError } from "@holdfast/kernel";
import { describe, expect, it, vi } from "vitest";
import type { Json } from "../json.ts";
import type { TasksSetUp } from "./harness.ts";
import { expectLossRefused } from "./lossy-values.ts";
import { claim, claimOne, idsOf, task } from "./task-fixtures.ts";

/** What every backend guarantees about putting tasks in and handing them out. */
export const taskQueueSuite = <Tx>(setUp: TasksSetUp<Tx>): void => {
  describe("task queue: enqueue", () => {
    it("fills in the defaults and returns an id for each task, in order", async () => {
      await using harness = await setUp();
      const queue = harness.store.queue("default");
      expect(harness.store.queue("default")).toBe(queue);
      const ids = await queue.enqueue([{ type: "a", payload: null }, task("mine")]);
      expect(ids).toHaveLength(2);
      expect(ids[1]).toBe("mine");
      const record = await queue.get(ids[0] as string);
      expect(record).toEqual({
        id: ids[0],
        type: "a",
        state: "pending",
        payload: null,
        group: undefined,
        attempt: 0,
        maxAttempts: 3,
        result: undefined,
        failures: [],
        worker: undefined,
        enqueuedAt: expect.any(Number),
        finishedAt: undefined,
      });
      expect(await queue.get("unknown")).toBeUndefined();
      expect(await queue.enqueue([])).toEqual([]);
    });

    it("keeps payloads and results exactly", async () => {
      await using harness = await setUp();
      const queue = harness.store.queue("q");
      const json: Json = { text: 'a"b\\c{},NULL', odd: ["\u0000", "\ud800", "🚀", null, 0.1], "": {} };
      await queue.enqueue([task("a", { payload: json }), task("b"), task("c")]);
      const [a, b, c] = await claim(queue);
      expect(a?.payload).toEqual(json);
      if (!a || !b || !c) throw new Error("three tasks expected");
      await queue.complete([{ ...a, result: json }, { ...b, result: null }, c]);
      expect((await queue.get("a"))?.result).toEqual(json);
      expect((await queue.get("b"))?.result).toBeNull();
      expect((await queue.get("c"))?.result).toBeUndefined();
    });

    it("adds nothing for an id that exists, whatever its state", async () => {
      await using harness = await setUp();
      const queue = harness.store.queue("q");
      await queue.enqueue([task("a")]);
      await queue.complete(await claim(queue));
      expect(await queue.enqueue([task("a", { payload: "other" }), task("b"), task("b")])).toEqual([
        "a",
        "b",
        "b",
      ]);
      expect((await queue.stats()).total).toBe(2);
      expect((await queue.get("a"))?.state).toBe("completed");
    });

    it("adds nothing for a dedupe key that is pending or claimed, and returns the id that has it", async () => {
      await using harness = await setUp();
      const queue = harness.store.queue("q");
      const keyed = { type: "a", payload: 1, dedupeKey: "k" };
      const [first, second] = await queue.enqueue([keyed, keyed]);
      expect(second).toBe(first);
      const claimed = await claimOne(queue);
      expect(await queue.enqueue([keyed, { ...keyed, id: "named" }])).toEqual([first, first]);
      await queue.complete([claimed]);
      const [third] = await queue.enqueue([keyed]);
      expect(third).not.toBe(first);
      expect((await queue.stats()).total).toBe(2);
    });

    it("keeps queues apart", async () => {
      await using harness = await setUp();
      await harness.store.queue("a").enqueue([task("same")]);
      await harness.store.queue("b").enqueue([task("same", { payload: "b" })]);
      expect((await claimOne(harness.store.queue("b"))).payload).toBe("b");
      expect((await harness.store.queue("a").stats()).pending).toBe(1);
    });

    it("refuses what no store could keep, and adds nothing of that call", async () => {
      await using harness = await setUp();
      const queue = harness.store.queue("q");
      for (const wrong of [
        { type: "" },
        { id: "" },
        { maxAttempts: 0 },
        { maxAttempts: 1001 },
        { delayMs: -1 },
        { delayMs: Number.NaN },
        { priority: "urgent" as never },
        { backoff: { factor: 0.5 } },
        { group: "nul\0" },
      ]) {
        await expect(queue.enqueue([task("ok"), task("x", wrong)])).rejects.toThrow(InvalidInputError);
      }
      const large = await queue
        .enqueue([task("ok"), task("x", { payload: "x".repeat(1_048_577) })])
        .catch((reason) => reason);
      expect(hasCode(large, "COORDINATION_PAYLOAD_TOO_LARGE")).toBe(true);
      expect((await queue.stats()).total).toBe(0);
      expect(() => harness.store.queue("bad name")).toThrow(InvalidInputError);
    });

    it("refuses what it could not give back as it was, by path and kind, and changes nothing", async () => {
      await using harness = await setUp();
      const queue = harness.store.queue("q");
      await expectLossRefused("task.payload", (payload) =>
        queue.enqueue([task("ok"), task("x", { payload })]),
      );
      expect((await queue.stats()).total).toBe(0);
      await expectLossRefused("task.payload", (payload) =>
        queue.schedules.put({ name: "s", everyMs: 60_000, task: { type: "a", payload } }),
      );
      expect(await queue.schedules.list()).toEqual([]);
      await queue.enqueue([task("a"), task("b")]);
      const [a, b] = await claim(queue);
      if (!a || !b) throw new Error("two tasks expected");
      const isOptional = { mayBeAbsent: true };
      await expectLossRefused(
        "the task's result",
        (result) => queue.complete([a, { ...b, result }]),
        isOptional,
      );
      await expectLossRefused("the task's progress", (progress) =>
        queue.reportProgress([
          { ...a, progress: 1 },
          { ...b, progress },
        ]),
      );
      const records = await queue.list({});
      expect(records.map(({ state, progress }) => [state, progress])).toEqual([
        ["claimed", undefined],
        ["claimed", undefined],
      ]);
    });

    it("takes dates as their text, and leaves out properties that are undefined", async () => {
      await using harness = await setUp();
      const queue = harness.store.queue("q");
      const payload = { at: new Date(0), left: undefined } as unknown as Json;
      await queue.enqueue([task("a", { payload })]);
      expect((await claimOne(queue)).payload).toStrictEqual({ at: "1970-01-01T00:00:00.000Z" });
    });
  });

  describe("task queue: claim", () => {
    it("hands out by priority, then due time, then order of enqueueing, however old the tasks are", async () => {
      await using harness = await setUp();
      const queue = harness.store.queue("q");
      await queue.enqueue([
        task("late", { delayMs: 500 }),
        task("n1"),
        task("low", { priority: "low" }),
        task("n2"),
      ]);
      await harness.elapse(86_400_000 * 30);
      await queue.enqueue([
        task("n3"),
        task("high", { priority: "high" }),
        task("critical", { priority: "critical" }),
      ]);
      const order: string[] = [];
      for (;;) {
        const claimed = await claim(queue, 2);
        if (claimed.length === 0) break;
        order.push(...idsOf(claimed));
      }
      expect(order).toEqual(["critical", "high", "n1", "n2", "late", "n3", "low"]);
    });

    it("hands out only the priorities that are asked for, in the same order, with limits too", async () => {
      await using harness = await setUp();
      for (const name of ["free", "limited"]) {
        const queue = harness.store.queue(name);
        if (name === "limited") await queue.setLimits({ concurrency: 100 });
        const priorities = ["low", "normal", "high", "critical"] as const;
        await queue.enqueue(
          [1, 2].flatMap((n) => priorities.map((priority) => task(`${priority}${n}`, { priority }))),
        );
        const some = ["high", "low"] as const;
        expect(idsOf(await claim(queue, 1, { priorities: some }))).toEqual(["high1"]);
        expect(idsOf(await claim(queue, 1, { priorities: ["low"] }))).toEqual(["low1"]);
        expect(idsOf(await claim(queue, 1))).toEqual(["critical1"]);
        expect(idsOf(await claim(queue, 9, { priorities: some }))).toEqual(["high2", "low2"]);
        expect(await claim(queue, 9, { priorities: some })).toEqual([]);
        expect(await claim(queue, 9, { priorities: [] })).toEqual([]);
        expect(idsOf(await claim(queue, 9))).toEqual(["critical2", "normal1", "normal2"]);
        const wrong = ["urgent"] as unknown as ["high"];
        await expect(claim(queue, 1, { priorities: wrong })).rejects.toThrow(/claim\.priorities.*urgent/);
      }
    });

    it("marks the task with worker and attempt and gives each claim of it a larger token", async () => {
      await using harness = await setUp();
      const queue = harness.store.queue("q");
      await queue.enqueue([task("a", { group: "g", backoff: { baseMs: 0 } })]);
      const first = await claimOne(queue);
      expect(first).toMatchObject({
        id: "a",
        type: "work",
        payload: "a",
        group: "g",
        attempt: 1,
        maxAttempts: 3,
      });
      expect(await queue.get("a")).toMatchObject({ state: "claimed", worker: "w1", attempt: 1 });
      await queue.fail([{ ...first, error: "again" }]);
      const second = await claimOne(queue);
      expect(second.attempt).toBe(2);
      expect(second.token).toBeGreaterThan(first.token);
      expect(second.enqueuedAt).toBe(first.enqueuedAt);
    });

    it("gives an empty list when nothing is due, up to the count asked for otherwise", async () => {
      await using harness = await setUp();
      const queue = harness.store.queue("q");
      expect(await claim(queue)).toEqual([]);
      await queue.enqueue([task("a"), task("b"), task("c")]);
      expect(await claim(queue, 2)).toHaveLength(2);
      expect(await claim(queue, 2)).toHaveLength(1);
      expect(await claim(queue, 2)).toEqual([]);
    });

    it("hands each of many tasks to exactly one of many workers", async () => {
      await using harness = await setUp();
      const queue = harness.store.queue("q");
      await queue.enqueue(Array.from({ length: 1000 }, (_, index) => task(`t${index}`)));
      const claimed = await Promise.all(
        Array.from({ length: 50 }, async (_, worker) => {
          const mine: string[] = [];
          for (;;) {
            const got = await claim(queue, 10, { worker: `w${worker}` });
            if (got.length === 0) return mine;
            mine.push(...idsOf(got));
          }
        }),
      );
      const all = claimed.flat();
      expect(all).toHaveLength(1000);
      expect(new Set(all).size).toBe(1000);
    });

    it("hands out only the types asked for", async () => {
      await using harness = await setUp();
      const queue = harness.store.queue("q");
      await queue.enqueue([task("a", { type: "x" }), task("b", { type: "y" }), task("c", { type: "z" })]);
      expect(idsOf(await claim(queue, 10, { types: ["z", "y", "none"] }))).toEqual(["b", "c"]);
      expect(await claim(queue, 10, { types: [] })).toEqual([]);
      expect(idsOf(await claim(queue, 10))).toEqual(["a"]);
    });

    it("starts a delayed task no earlier than asked", async () => {
      await using harness = await setUp();
      const queue = harness.store.queue("q");
      await queue.enqueue([task("a", { delayMs: 60_000 })]);
      expect(await queue.stats()).toMatchObject({ pending: 0, delayed: 1, total: 1, oldestDueMs: undefined });
      await harness.elapse(50_000);
      expect(await claim(queue)).toEqual([]);
      await harness.elapse(10_001);
      expect(idsOf(await claim(queue))).toEqual(["a"]);
    });

    it("refuses claims that no store could serve", async () => {
      await using harness = await setUp();
      const queue = harness.store.queue("q");
      for (const wrong of [{ maxCount: 0 }, { leaseMs: 99 }, { worker: "" }, { maxCount: 1.5 }]) {
        const options = { worker: "w", maxCount: 1, leaseMs: 1000, ...wrong };
        await expect(queue.claim(options)).rejects.toThrow(InvalidInputError);
      }
    });

    it("wakes who waits for tasks when one is enqueued, given back or requeued", async () => {
      await using harness = await setUp();
      const queue = harness.store.queue("q");
      let count = 0;
      const stop = queue.onAvailable(() => {
        count += 1;
      });
      // The first wake-up may take until the backend listens; enqueueing on is what a producer does.
      await vi.waitFor(async () => {
        await queue.enqueue([{ type: "a", payload: 1 }]);
        expect(count).toBeGreaterThan(0);
      });
      const seen = count;
      const claimed = await claimOne(queue);
      await queue.fail([{ ...claimed, error: "e", retryDelayMs: 0 }]);
      await vi.waitFor(() => expect(count).toBeGreaterThan(seen));
      stop();
    });

    it("says how long until something is due", async () => {
      await using harness = await setUp();
      const queue = harness.store.queue("q");
      expect(await queue.nextDueInMs()).toBeUndefined();
      await queue.enqueue([
        task("later", { delayMs: 60_000, priority: "low" }),
        task("soon", { delayMs: 30_000 }),
      ]);
      const soon = await queue.nextDueInMs();
      expect(soon).toBeGreaterThan(20_000);
      expect(soon).toBeLessThanOrEqual(30_000);
      await harness.elapse(30_001);
      expect(await queue.nextDueInMs()).toBe(0);
      await claim(queue, 1, { leaseMs: 5000 });
      const lapse = await queue.nextDueInMs();
      expect(lapse).toBeGreaterThan(1000);
      expect(lapse).toBeLessThanOrEqual(5000);
      await harness.elapse(5001);
      expect(await queue.nextDueInMs()).toBe(0);
    });
  });
};
