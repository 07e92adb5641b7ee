import { VirtualClock } from "@holdfast/kernel/testing";
import { describe, expect, it, vi } from "vitest";
import { runWorker } from "../queue/run-worker.ts";
import type { TaskQueue } from "../queue/task-queue.ts";
import type { TasksSetUp } from "./harness.ts";
import { claim, claimOne, idsOf, task } from "./task-fixtures.ts";

/** What every backend guarantees about claims: how they end, lapse and are taken back. */
export const taskClaimsSuite = <Tx>(setUp: TasksSetUp<Tx>): void => {
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

    it("gives an uncounted task its place back, before everything that was enqueued after it", async () => {
      await using harness = await setUp();
      const queue = harness.store.queue("q");
      await queue.enqueue([task("a"), task("b"), task("c")]);
      const [a, b] = await claim(queue, 2);
      await queue.enqueue([task("d")]);
      const error = "drained";
      const given = [a, b].flatMap((claimed) => (claimed ? [{ ...claimed, error, uncounted: true }] : []));
      expect(await queue.fail(given)).toEqual([
        { outcome: "retrying", attempt: 0, retryInMs: 0 },
        { outcome: "retrying", attempt: 0, retryInMs: 0 },
      ]);
      expect(idsOf(await claim(queue, 4))).toEqual(["a", "b", "c", "d"]);
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

    it("gives a lapsed task to the next who asks, before everything that was enqueued after it", async () => {
      await using harness = await setUp();
      const queue = harness.store.queue("q");
      await queue.enqueue([task("a"), task("b")]);
      expect(idsOf(await claim(queue, 2))).toEqual(["a", "b"]);
      await harness.elapse(10_001);
      await queue.enqueue([task("c"), task("d")]);
      expect(await queue.recoverLapsed()).toHaveLength(2);
      expect(idsOf(await claim(queue, 4))).toEqual(["a", "b", "c", "d"]);
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

    it("starts everything again that dead workers held, however much, with the next worker's first look", async () => {
      await using harness = await setUp();
      const queue = harness.store.queue("q");
      const ids = Array.from({ length: 1500 }, (_, index) => `t${`${index}`.padStart(4, "0")}`);
      await queue.enqueue(ids.map((id) => task(id)));
      expect(await claim(queue, 1500)).toHaveLength(1500);
      await harness.elapse(10_001);
      const started: string[] = [];
      const stopping = new AbortController();
      const worker = runWorker({
        queue: queue as TaskQueue<never>,
        worker: "w2",
        handlers: {
          work: async ({ task: { id } }) => {
            started.push(id);
            return undefined;
          },
        },
        concurrency: 100,
        prefetch: 400,
        // It stands still: there is no second look, and nothing is found by polling.
        clock: new VirtualClock(),
        signal: stopping.signal,
      });
      try {
        await vi.waitFor(() => expect(started).toHaveLength(1500));
      } finally {
        stopping.abort(new Error("enough"));
        await worker;
      }
      expect(started.sort()).toEqual(ids);
    });
  });
};
