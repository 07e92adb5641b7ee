import { hasCode, InvalidInputError } from "@holdfast/kernel";
import { describe, expect, it, vi } from "vitest";
import type { Json } from "../json.ts";
import type { ClaimedTask, NewTask, TaskQueue } from "../queue/task-queue.ts";
import type { SetUp } from "./harness.ts";

const task = (id: string, more: Partial<NewTask> = {}): NewTask => ({
  id,
  type: "work",
  payload: id,
  ...more,
});

const claim = <Tx>(
  queue: TaskQueue<Tx>,
  maxCount = 100,
  more: { worker?: string; leaseMs?: number; types?: readonly string[] } = {},
): Promise<readonly ClaimedTask[]> => queue.claim({ worker: "w1", leaseMs: 10_000, ...more, maxCount });

const claimOne = async <Tx>(queue: TaskQueue<Tx>): Promise<ClaimedTask> => {
  const [claimed] = await claim(queue, 1);
  if (claimed === undefined) throw new Error("no task was due");
  return claimed;
};

const idsOf = (tasks: readonly { readonly id: string }[]): readonly string[] => tasks.map(({ id }) => id);

/** What every backend guarantees about task queues. */
export const taskQueueSuite = <Tx>(setUp: SetUp<Tx>): void => {
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

  describe("task queue: finish", () => {
    it("completes a claim once, with its result and time", async () => {
      await using harness = await setUp();
      const queue = harness.store.queue("q");
      await queue.enqueue([task("a")]);
      const claimed = await claimOne(queue);
      expect(await queue.complete([{ ...claimed, result: { sum: 3 } }])).toEqual(["completed"]);
      expect(await queue.get("a")).toMatchObject({
        state: "completed",
        result: { sum: 3 },
        worker: "w1",
        finishedAt: expect.any(Number),
      });
      expect(await queue.complete([{ ...claimed, result: "other" }])).toEqual(["stale"]);
      expect(await queue.fail([{ ...claimed, error: "late" }])).toMatchObject([{ outcome: "stale" }]);
      expect(await queue.renew([claimed], { leaseMs: 1000 })).toEqual(["lost"]);
      expect((await queue.get("a"))?.result).toEqual({ sum: 3 });
      expect(await claim(queue)).toEqual([]);
    });

    it("refuses stale tokens and unknown tasks, item by item, and changes nothing for them", async () => {
      await using harness = await setUp();
      const queue = harness.store.queue("q");
      await queue.enqueue([task("a"), task("b"), task("pending")]);
      const [a, b] = await claim(queue, 2);
      if (!a || !b) throw new Error("two claims expected");
      const stale = { id: "b", token: b.token + 1000n };
      const unknown = { id: "nobody", token: 1n };
      const neverClaimed = { id: "pending", token: 0n };
      expect(await queue.renew([stale, a, unknown, neverClaimed], { leaseMs: 1000 })).toEqual([
        "lost",
        "renewed",
        "lost",
        "lost",
      ]);
      expect(
        (await queue.fail([stale, unknown, neverClaimed].map((ref) => ({ ...ref, error: "e" })))).map(
          ({ outcome }) => outcome,
        ),
      ).toEqual(["stale", "stale", "stale"]);
      expect(await queue.complete([stale, unknown, a, neverClaimed])).toEqual([
        "stale",
        "stale",
        "completed",
        "stale",
      ]);
      expect((await queue.get("b"))?.state).toBe("claimed");
      expect((await queue.get("pending"))?.state).toBe("pending");
      expect(await queue.complete([])).toEqual([]);
      expect(await queue.fail([])).toEqual([]);
      expect(await queue.renew([], { leaseMs: 1000 })).toEqual([]);
    });

    it("counts the same claim only once within one call", async () => {
      await using harness = await setUp();
      const queue = harness.store.queue("q");
      await queue.enqueue([task("a"), task("b")]);
      const [a, b] = await claim(queue);
      if (!a || !b) throw new Error("two claims expected");
      expect([...(await queue.complete([a, a]))].sort()).toEqual(["completed", "stale"]);
      const failed = await queue.fail([
        { ...b, error: 1 },
        { ...b, error: 2 },
      ]);
      expect(failed.map(({ outcome }) => outcome).sort()).toEqual(["retrying", "stale"]);
    });

    it("retries a failed task after its backoff, which grows to its cap", async () => {
      await using harness = await setUp();
      const queue = harness.store.queue("q");
      await queue.enqueue([
        task("a", { maxAttempts: 5, backoff: { baseMs: 10_000, factor: 2, capMs: 30_000 } }),
      ]);
      for (const [attempt, ceilingMs] of [
        [1, 10_000],
        [2, 20_000],
        [3, 30_000],
        [4, 30_000],
      ] as const) {
        const claimed = await claimOne(queue);
        const [failed] = await queue.fail([{ ...claimed, error: { code: "E", attempt } }]);
        expect(failed).toMatchObject({ outcome: "retrying", attempt });
        expect(failed?.retryInMs).toBeGreaterThanOrEqual(ceilingMs / 2);
        expect(failed?.retryInMs).toBeLessThanOrEqual(ceilingMs);
        expect(await claim(queue)).toEqual([]);
        await harness.elapse(ceilingMs + 1);
      }
      expect(await queue.fail([{ ...(await claimOne(queue)), error: "last" }])).toMatchObject([
        { outcome: "dead", attempt: 5 },
      ]);
      const record = await queue.get("a");
      expect(record).toMatchObject({ state: "dead", attempt: 5, finishedAt: expect.any(Number) });
      expect(record?.failures.map(({ attempt, worker, error }) => ({ attempt, worker, error }))).toEqual([
        { attempt: 1, worker: "w1", error: { code: "E", attempt: 1 } },
        { attempt: 2, worker: "w1", error: { code: "E", attempt: 2 } },
        { attempt: 3, worker: "w1", error: { code: "E", attempt: 3 } },
        { attempt: 4, worker: "w1", error: { code: "E", attempt: 4 } },
        { attempt: 5, worker: "w1", error: "last" },
      ]);
      expect(await claim(queue)).toEqual([]);
    });

    it("obeys the failure's own delay, and buries at once when it says not to retry", async () => {
      await using harness = await setUp();
      const queue = harness.store.queue("q");
      await queue.enqueue([task("a"), task("b")]);
      const [a, b] = await claim(queue);
      if (!a || !b) throw new Error("two claims expected");
      expect(
        await queue.fail([
          { ...a, error: "e", retryDelayMs: 40_000 },
          { ...b, error: "e", retry: false },
        ]),
      ).toEqual([
        { outcome: "retrying", attempt: 1, retryInMs: 40_000 },
        { outcome: "dead", attempt: 1 },
      ]);
      await harness.elapse(39_000);
      expect(await claim(queue)).toEqual([]);
      await harness.elapse(1001);
      expect(idsOf(await claim(queue))).toEqual(["a"]);
    });

    it("gives an uncounted attempt back, also after the last", async () => {
      await using harness = await setUp();
      const queue = harness.store.queue("q");
      await queue.enqueue([task("a", { maxAttempts: 1 })]);
      for (let round = 0; round < 3; round += 1) {
        const claimed = await claimOne(queue);
        expect(claimed.attempt).toBe(1);
        expect(
          await queue.fail([{ ...claimed, error: "drained", retryDelayMs: 0, uncounted: true }]),
        ).toEqual([{ outcome: "retrying", attempt: 0, retryInMs: 0 }]);
      }
      expect(await queue.fail([{ ...(await claimOne(queue)), error: "own fault" }])).toMatchObject([
        { outcome: "dead", attempt: 1 },
      ]);
    });

    it("keeps the last 20 failures, each clipped to 4 KiB", async () => {
      await using harness = await setUp();
      const queue = harness.store.queue("q");
      await queue.enqueue([task("a", { maxAttempts: 30 })]);
      for (let attempt = 1; attempt <= 25; attempt += 1) {
        const error = attempt === 25 ? "ü".repeat(5000) : attempt;
        await queue.fail([{ ...(await claimOne(queue)), error, retryDelayMs: 0 }]);
      }
      const failures = (await queue.get("a"))?.failures ?? [];
      expect(failures.map(({ attempt }) => attempt)).toEqual(Array.from({ length: 20 }, (_, i) => i + 6));
      expect(failures.at(-1)?.error).toMatchObject({
        truncated: true,
        start: expect.stringMatching(/^"üüü/),
      });
      expect(Buffer.byteLength(JSON.stringify(failures.at(-1)?.error))).toBeLessThanOrEqual(4096);
    });
  });

  describe("task queue: leases of claims", () => {
    it("returns a lapsed claim to pending, counted as an attempt, and refuses its late finish", async () => {
      await using harness = await setUp();
      const queue = harness.store.queue("q");
      await queue.enqueue([task("a", { group: "g" })]);
      const lost = await claimOne(queue);
      expect(await queue.recoverLapsed()).toEqual([]);
      await harness.elapse(10_001);
      expect(await queue.recoverLapsed()).toEqual([
        { id: "a", group: "g", attempt: 1, worker: "w1", outcome: "retrying" },
      ]);
      expect(await queue.recoverLapsed()).toEqual([]);
      expect(await queue.complete([lost])).toEqual(["stale"]);
      const again = await claimOne(queue);
      expect(again.attempt).toBe(2);
      expect(await queue.complete([lost])).toEqual(["stale"]);
      expect(await queue.fail([{ ...lost, error: "late" }])).toMatchObject([{ outcome: "stale" }]);
      expect(await queue.renew([lost], { leaseMs: 1000 })).toEqual(["lost"]);
      expect(await queue.complete([again])).toEqual(["completed"]);
    });

    it("buries a task whose last attempt lapsed, with the lapse in its history", async () => {
      await using harness = await setUp();
      const queue = harness.store.queue("q");
      await queue.enqueue([task("a", { maxAttempts: 2 })]);
      for (const outcome of ["retrying", "dead"]) {
        await claimOne(queue);
        await harness.elapse(10_001);
        expect(await queue.recoverLapsed()).toMatchObject([{ id: "a", outcome }]);
      }
      const record = await queue.get("a");
      expect(record?.state).toBe("dead");
      expect(record?.failures).toMatchObject([
        { attempt: 1, worker: "w1", error: { code: "COORDINATION_CLAIM_LAPSED" } },
        { attempt: 2, worker: "w1", error: { code: "COORDINATION_CLAIM_LAPSED" } },
      ]);
    });

    it("never touches a claim that is renewed in time", async () => {
      await using harness = await setUp();
      const queue = harness.store.queue("q");
      await queue.enqueue([task("a"), task("b")]);
      const claimed = await claim(queue);
      for (let round = 0; round < 3; round += 1) {
        await harness.elapse(7000);
        expect(await queue.renew(claimed, { leaseMs: 10_000 })).toEqual(["renewed", "renewed"]);
        expect(await queue.recoverLapsed()).toEqual([]);
      }
      expect(await queue.complete(claimed)).toEqual(["completed", "completed"]);
    });

    it("lets a claim that lapsed unnoticed still be renewed or completed", async () => {
      await using harness = await setUp();
      const queue = harness.store.queue("q");
      await queue.enqueue([task("a"), task("b")]);
      const [a, b] = await claim(queue);
      if (!a || !b) throw new Error("two claims expected");
      await harness.elapse(10_001);
      expect(await queue.renew([a], { leaseMs: 10_000 })).toEqual(["renewed"]);
      expect(await queue.complete([b])).toEqual(["completed"]);
      expect(await queue.recoverLapsed()).toEqual([]);
    });

    it("reports each lapse to one of many concurrent recoverers", async () => {
      await using harness = await setUp();
      const queue = harness.store.queue("q");
      await queue.enqueue(Array.from({ length: 100 }, (_, index) => task(`t${index}`)));
      await claim(queue, 100);
      await harness.elapse(10_001);
      const recovered = await Promise.all(
        Array.from({ length: 8 }, async () => [
          ...(await queue.recoverLapsed({ limit: 20 })),
          ...(await queue.recoverLapsed()),
        ]),
      );
      recovered.push([...(await queue.recoverLapsed())]);
      const ids = idsOf(recovered.flat());
      expect(ids).toHaveLength(100);
      expect(new Set(ids).size).toBe(100);
    });
  });

  describe("task queue: groups, history, upkeep", () => {
    it("cancels the unfinished tasks of groups; their claims learn it on renewal and cannot complete", async () => {
      await using harness = await setUp();
      const queue = harness.store.queue("q");
      await queue.enqueue([
        task("done", { group: "g", priority: "critical" }),
        task("running", { group: "g", priority: "high", dedupeKey: "k" }),
        task("waiting", { group: "g" }),
        task("other", { group: "h", priority: "low" }),
        task("alone"),
      ]);
      const [done, running] = await claim(queue, 2);
      if (!done || !running) throw new Error("two claims expected");
      await queue.complete([done]);
      expect(await queue.cancelGroups(["g", "none"])).toBe(2);
      expect(await queue.cancelGroups(["g"])).toBe(0);
      expect(await queue.renew([running, done], { leaseMs: 1000 })).toEqual(["cancelled", "lost"]);
      expect(await queue.complete([running])).toEqual(["stale"]);
      expect(await queue.fail([{ ...running, error: "e" }])).toMatchObject([{ outcome: "stale" }]);
      expect(await queue.list({ group: "g" })).toMatchObject([
        { id: "done", state: "completed" },
        { id: "running", state: "cancelled" },
        { id: "waiting", state: "cancelled" },
      ]);
      await harness.elapse(20_000);
      expect(await queue.recoverLapsed()).toEqual([]);
      expect(idsOf(await claim(queue))).toEqual(["alone", "other"]);
      // The cancelled holder of the key no longer blocks it.
      expect(await queue.enqueue([task("next", { dedupeKey: "k" })])).toEqual(["next"]);
    });

    it("lists by group and state, ordered by id, in pages", async () => {
      await using harness = await setUp();
      const queue = harness.store.queue("q");
      await queue.enqueue(
        ["c", "a", "d", "b"].map((id) => task(id, { group: id === "d" ? "h" : "g", type: id })),
      );
      await queue.complete(await claim(queue, 1, { types: ["a"] }));
      expect(idsOf(await queue.list({}))).toEqual(["a", "b", "c", "d"]);
      expect(idsOf(await queue.list({ group: "g" }))).toEqual(["a", "b", "c"]);
      expect(idsOf(await queue.list({ group: "g", states: ["pending"] }))).toEqual(["b", "c"]);
      expect(idsOf(await queue.list({ group: "g", states: ["pending", "completed"], limit: 2 }))).toEqual([
        "a",
        "b",
      ]);
      expect(idsOf(await queue.list({ afterId: "b", limit: 1 }))).toEqual(["c"]);
      expect(await queue.list({ group: "none" })).toEqual([]);
      expect(await queue.list({ states: [] })).toEqual([]);
    });

    it("puts dead tasks back with fresh attempts and their history, and no others", async () => {
      await using harness = await setUp();
      const queue = harness.store.queue("q");
      await queue.enqueue([task("dead", { maxAttempts: 1 }), task("alive")]);
      const [claimed] = await claim(queue, 1);
      if (!claimed) throw new Error("a claim expected");
      await queue.fail([{ ...claimed, error: "e" }]);
      expect(await queue.requeueDead(["alive", "dead", "unknown"])).toEqual(["dead"]);
      expect(await queue.get("dead")).toMatchObject({
        state: "pending",
        attempt: 0,
        failures: [{ attempt: 1, error: "e" }],
        finishedAt: undefined,
      });
      expect(await queue.requeueDead(["dead"])).toEqual([]);
      expect(await queue.complete([claimed])).toEqual(["stale"]);
      expect(idsOf(await claim(queue)).length).toBe(2);
    });

    it("does not put a dead task back while a live one has its dedupe key", async () => {
      await using harness = await setUp();
      const queue = harness.store.queue("q");
      await queue.enqueue(["a", "b"].map((id) => task(id, { maxAttempts: 1, dedupeKey: `k${id}` })));
      await queue.fail((await claim(queue)).map((claimed) => ({ ...claimed, error: "e" })));
      await queue.enqueue([task("newer", { dedupeKey: "ka" })]);
      expect(await queue.requeueDead(["a", "b"])).toEqual(["b"]);
      expect((await queue.get("a"))?.state).toBe("dead");
    });

    it("counts every state, and the counts add up to the total", async () => {
      await using harness = await setUp();
      const queue = harness.store.queue("q");
      expect(await queue.stats()).toEqual({
        pending: 0,
        delayed: 0,
        claimed: 0,
        completed: 0,
        dead: 0,
        cancelled: 0,
        total: 0,
        oldestDueMs: undefined,
      });
      await queue.enqueue([
        task("completed", { priority: "critical" }),
        task("dead", { priority: "critical" }),
        task("claimed", { priority: "critical" }),
        task("cancelled", { group: "g" }),
        task("delayed", { delayMs: 3_600_000 }),
        task("p1"),
        task("p2"),
      ]);
      const [completed, dead] = await claim(queue, 3);
      if (!completed || !dead) throw new Error("claims expected");
      await queue.complete([completed]);
      await queue.fail([{ ...dead, error: "e", retry: false }]);
      await queue.cancelGroups(["g"]);
      await harness.elapse(5000);
      const stats = await queue.stats();
      expect(stats).toMatchObject({
        pending: 2,
        delayed: 1,
        claimed: 1,
        completed: 1,
        dead: 1,
        cancelled: 1,
        total: 7,
      });
      expect(stats.oldestDueMs).toBeGreaterThanOrEqual(5000);
      expect(stats.oldestDueMs).toBeLessThan(65_000);
    });

    it("purges what finished long enough ago, and leaves the rest", async () => {
      await using harness = await setUp();
      const queue = harness.store.queue("q");
      await queue.enqueue([
        task("old", { priority: "critical" }),
        task("old-dead", { priority: "critical" }),
        task("claimed", { priority: "critical" }),
        task("old-cancelled", { group: "g" }),
        task("new"),
        task("pending"),
      ]);
      const [old, oldDead] = await claim(queue, 3, { leaseMs: 86_400_000 });
      if (!old || !oldDead) throw new Error("claims expected");
      await queue.complete([old]);
      await queue.fail([{ ...oldDead, error: "e", retry: false }]);
      await queue.cancelGroups(["g"]);
      await harness.elapse(3_600_001);
      await queue.complete(await claim(queue, 1));
      expect(await queue.purge({ olderThanMs: 3_600_000, limit: 1 })).toBe(1);
      expect(await queue.purge({ olderThanMs: 3_600_000 })).toBe(1);
      expect(await queue.purge({ olderThanMs: 3_600_000 })).toBe(0);
      expect(idsOf(await queue.list({}))).toEqual(["claimed", "new", "old-dead", "pending"]);
      expect(await queue.purge({ olderThanMs: 3_600_000, states: ["dead"] })).toBe(1);
      expect(idsOf(await queue.list({}))).toEqual(["claimed", "new", "pending"]);
    });

    it("deletes groups whole, and their claims are lost", async () => {
      await using harness = await setUp();
      const queue = harness.store.queue("q");
      await queue.enqueue([task("a", { group: "g", dedupeKey: "k" }), task("b", { group: "g" }), task("c")]);
      const claimed = await claimOne(queue);
      expect(await queue.deleteGroups(["g", "none"])).toBe(2);
      expect(await queue.renew([claimed], { leaseMs: 1000 })).toEqual(["lost"]);
      expect(await queue.complete([claimed])).toEqual(["stale"]);
      expect(idsOf(await queue.list({}))).toEqual(["c"]);
      expect(await queue.enqueue([task("a", { dedupeKey: "k" })])).toEqual(["a"]);
    });
  });
};
