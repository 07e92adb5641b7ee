import { createMemoryStore } from "@holdfast/coordination/memory";
import { InvalidInputError, seededRandom } from "@holdfast/kernel";
import { VirtualClock } from "@holdfast/kernel/testing";
import { describe, expect, it, vi } from "vitest";
import { runWorker } from "./run-worker.ts";
import type { NewTask } from "./task-queue.ts";
import type { BatchHandler, TaskContext, WorkerOptions } from "./worker-options.ts";

const LEASE_MS = 3000;

const setUp = () => {
  const clock = new VirtualClock();
  const store = createMemoryStore({ clock, random: seededRandom(1), payloadMaxBytes: 1000 });
  const queue = store.queue("q");
  const start = (options: Partial<WorkerOptions>) => {
    const controller = new AbortController();
    const ended = runWorker({
      queue,
      worker: "w",
      leaseMs: LEASE_MS,
      clock,
      signal: controller.signal,
      ...options,
    });
    return {
      end: async () => {
        controller.abort(new Error("stop"));
        await clock.advance(1);
        await ended;
      },
    };
  };
  return { clock, queue, start };
};

const tasks = (count: number, more: Partial<NewTask> = {}): NewTask[] =>
  Array.from({ length: count }, (_, index) => ({
    id: `t${index}`,
    type: "work",
    payload: index,
    maxAttempts: 1,
    ...more,
  }));

describe("a worker whose owner makes a mistake", () => {
  it("fails the tasks whose results no store takes, and completes those that ended with them, once", async () => {
    const { clock, queue, start } = setUp();
    const handler = vi.fn(async ({ task }: TaskContext) => {
      if (task.id === "t3") return "x".repeat(2000);
      if (task.id === "t7") return 1n as never;
      return null;
    });
    const worker = start({ handlers: { work: handler }, concurrency: 10 });
    await queue.enqueue(tasks(10));
    await clock.advance(10 * LEASE_MS);
    expect(handler).toHaveBeenCalledTimes(10);
    expect(await queue.stats()).toMatchObject({ completed: 8, dead: 2 });
    expect((await queue.get("t3"))?.failures[0]?.error).toMatchObject({
      code: "COORDINATION_PAYLOAD_TOO_LARGE",
    });
    expect((await queue.get("t7"))?.failures[0]?.error).toMatchObject({ code: "KERNEL_INVALID_INPUT" });
    await worker.end();
  });

  it("fails a task whose result or progress would lose something, with its path and kind", async () => {
    const { clock, queue, start } = setUp();
    const worker = start({
      handlers: {
        work: async ({ task, report }) => {
          if (task.id === "t0") return { rows: [{ price: new Map() }] } as never;
          if (task.id === "t1") report({ cause: new Error("no") } as never);
          return null;
        },
      },
      batches: {
        bulk: {
          maxCount: 5,
          run: async (batch) => batch.map((_, index) => (index === 1 ? [() => 1] : 7) as never),
        },
      },
    });
    await queue.enqueue([
      ...tasks(3),
      ...["b0", "b1"].map((id) => ({ id, type: "bulk", payload: 1, maxAttempts: 1 })),
    ]);
    await clock.advance(100);
    const records = await queue.list({});
    expect(records.map(({ id, state }) => [id, state])).toEqual([
      ["b0", "completed"],
      ["b1", "dead"],
      ["t0", "dead"],
      ["t1", "dead"],
      ["t2", "completed"],
    ]);
    expect(records.flatMap(({ failures }) => failures.map(({ error }) => error))).toMatchObject([
      { code: "KERNEL_INVALID_INPUT", details: { field: "the task's result[0]" } },
      { code: "KERNEL_INVALID_INPUT", details: { field: "the task's result.rows[0].price" } },
      { code: "KERNEL_INVALID_INPUT", details: { field: "progress.cause" } },
    ]);
    await worker.end();
  });

  it("keeps what others report of their progress beside one that is too long", async () => {
    const { clock, queue, start } = setUp();
    const worker = start({
      handlers: {
        work: async (context) => {
          context.report(context.task.id === "t1" ? "x".repeat(5000) : 50);
          await clock.sleep(100);
          return null;
        },
      },
    });
    await queue.enqueue(tasks(3));
    await clock.advance(50);
    expect((await queue.list({})).map(({ progress }) => progress)).toEqual([50, undefined, 50]);
    await clock.advance(100);
    await worker.end();
  });

  it.each([
    ["what it calls final throws", new Error("no"), "no"],
    ["its handler throws what has no text", Object.create(null), "an error that has no text"],
    ["its handler throws nothing", undefined, "undefined"],
  ])("counts a task as failed and ends when it is stopped, where %s", async (_, thrown, message) => {
    const { clock, queue, start } = setUp();
    const worker = start({
      handlers: { work: () => Promise.reject(thrown) },
      isFinal: () => {
        throw new TypeError("a mistake");
      },
    });
    await queue.enqueue(tasks(1));
    await clock.advance(10);
    expect((await queue.get("t0"))?.failures).toMatchObject([{ error: { message } }]);
    await worker.end();
    expect(clock.pendingCount).toBe(0);
  });

  it("fails the tasks of a batch that resolves with nothing, and ends when it is stopped", async () => {
    const { clock, queue, start } = setUp();
    const run = (async () => undefined) as unknown as BatchHandler["run"];
    const worker = start({ batches: { work: { maxCount: 5, run } } });
    await queue.enqueue(tasks(3));
    await clock.advance(10);
    expect(await queue.stats()).toMatchObject({ dead: 3 });
    await worker.end();
  });

  it("fails the tasks of a batch that resolves with another number of results: nobody knows whose they are", async () => {
    const { clock, queue, start } = setUp();
    const run: BatchHandler["run"] = async (batch) => batch.slice(1).map(({ task }) => task.id);
    const worker = start({ batches: { work: { maxCount: 5, run } } });
    await queue.enqueue(tasks(3));
    await clock.advance(10);
    expect(await queue.stats()).toMatchObject({ dead: 3, completed: 0 });
    expect((await queue.get("t0"))?.failures[0]?.error).toMatchObject({
      code: "KERNEL_INVALID_INPUT",
      message: "the results of a batch of work must be 3, one for each task; got 2",
    });
    await worker.end();
  });

  it.each([
    { drainMs: Number.NaN },
    { leaseMs: 50 },
    { leaseMs: Number.NaN },
    { worker: "" },
  ])("is told at once of what no claim could be made with: %o", async (wrong) => {
    const { queue, clock } = setUp();
    const running = runWorker({
      queue,
      worker: "w",
      clock,
      signal: AbortSignal.abort(new Error("stop")),
      ...wrong,
    });
    await expect(running).rejects.toThrow(InvalidInputError);
  });

  it("renews nothing while there is nothing to do, however long", async () => {
    const { clock, queue, start } = setUp();
    const renew = vi.spyOn(queue, "renew");
    const worker = start({ handlers: { work: async () => null }, prefetch: 5 });
    await clock.advance(100 * LEASE_MS);
    expect(renew).not.toHaveBeenCalled();
    await worker.end();
  });
});
