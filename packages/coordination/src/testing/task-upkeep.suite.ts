import { describe, expect, it } from "vitest";
import type { TasksSetUp } from "./harness.ts";
import { claim, claimOne, idsOf, task } from "./task-fixtures.ts";

/** What every backend guarantees about groups, dead letters, statistics and purging. */
export const taskUpkeepSuite = <Tx>(setUp: TasksSetUp<Tx>): void => {
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

    it("purges nothing where only what ended before all times is asked for", async () => {
      await using harness = await setUp();
      const queue = harness.store.queue("q");
      await queue.enqueue([task("done")]);
      await queue.complete([await claimOne(queue)]);
      expect(await queue.purge({ olderThanMs: Number.MAX_SAFE_INTEGER })).toBe(0);
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

    it("lists in the order of code points, whatever the language of the server", async () => {
      await using harness = await setUp();
      const queue = harness.store.queue("q");
      await queue.enqueue(["b", "é", "a-c", "A", "ab", "B", "_", "a", "10", "9"].map((id) => task(id)));
      const ordered = ["10", "9", "A", "B", "_", "a", "a-c", "ab", "b", "é"];
      expect(idsOf(await queue.list({}))).toEqual(ordered);
      expect(idsOf(await queue.list({ afterId: "B", limit: 3 }))).toEqual(["_", "a", "a-c"]);
      expect(idsOf(await queue.list({ afterId: "ab" }))).toEqual(["b", "é"]);
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
        waiting: 0,
        pending: 0,
        delayed: 0,
        claimed: 0,
        completed: 0,
        dead: 0,
        cancelled: 0,
        total: 0,
        oldestDueMs: undefined,
        retrying: 0,
        paused: false,
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
