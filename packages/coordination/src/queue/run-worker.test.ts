import { createMemoryStore } from "@holdfast/coordination/memory";
import { seededRandom, silentLogger, TaskGroup } from "@holdfast/kernel";
import { VirtualClock } from "@holdfast/kernel/testing";
import { describe, expect, it, vi } from "vitest";
import { StoreUnavailableError, TaskCancelledError } from "../errors.ts";
import { runWorker } from "./run-worker.ts";
import type { NewTask } from "./task-queue.ts";
import type { TaskContext, WorkerOptions } from "./worker-options.ts";

const LEASE_MS = 3000;

const setUp = () => {
  const clock = new VirtualClock();
  const queue = createMemoryStore({ clock, random: seededRandom(1) }).queue("q");
  const group = new TaskGroup({ logger: silentLogger });
  const start = (
    handler: (context: TaskContext) => Promise<never | number>,
    more: Partial<WorkerOptions> = {},
  ) => {
    const controller = new AbortController();
    const ended = runWorker({
      queue,
      worker: "w",
      handlers: { work: handler },
      leaseMs: LEASE_MS,
      clock,
      signal: controller.signal,
      ...more,
    });
    group.spawn("worker", () => ended);
    return { stop: () => controller.abort(new Error("stop")), ended };
  };
  return { clock, queue, start };
};

const tasks = (count: number, more: Partial<NewTask> = {}): NewTask[] =>
  Array.from({ length: count }, (_, index) => ({ id: `t${index}`, type: "work", payload: index, ...more }));

describe("a worker", () => {
  it("runs every task once, never more than its concurrency, and stores the results", async () => {
    const { clock, queue, start } = setUp();
    let runningCount = 0;
    let mostAtOnce = 0;
    const worker = start(
      async ({ task }) => {
        runningCount += 1;
        mostAtOnce = Math.max(mostAtOnce, runningCount);
        await clock.sleep(100);
        runningCount -= 1;
        return (task.payload as number) * 2;
      },
      { concurrency: 7 },
    );
    await queue.enqueue(tasks(100));
    await clock.advance(2000);
    expect(mostAtOnce).toBe(7);
    expect(await queue.stats()).toMatchObject({ completed: 100, total: 100 });
    expect((await queue.get("t21"))?.result).toBe(42);
    worker.stop();
    await worker.ended;
    expect(clock.pendingCount).toBe(0);
  });

  it("finishes work that takes longer than its lease, once", async () => {
    const { clock, queue, start } = setUp();
    const handler = vi.fn(async () => {
      await clock.sleep(5 * LEASE_MS);
      return 1;
    });
    start(handler);
    start(handler, { worker: "w2" });
    await queue.enqueue(tasks(1));
    await clock.advance(6 * LEASE_MS);
    expect(handler).toHaveBeenCalledTimes(1);
    expect((await queue.get("t0"))?.state).toBe("completed");
  });

  it("retries a failing task and buries it with its errors", async () => {
    const { clock, queue, start } = setUp();
    start(() => Promise.reject(new TypeError("bad input")));
    await queue.enqueue(tasks(1, { maxAttempts: 2 }));
    await clock.advance(5000);
    const record = await queue.get("t0");
    expect(record).toMatchObject({ state: "dead", attempt: 2 });
    expect(record?.failures.map(({ error }) => error)).toEqual([
      expect.objectContaining({ message: "bad input" }),
      expect.objectContaining({ message: "bad input" }),
    ]);
  });

  it("buries at once what its owner calls final", async () => {
    const { clock, queue, start } = setUp();
    start(() => Promise.reject(new TypeError("bad input")), {
      isFinal: (error) => error instanceof TypeError,
    });
    await queue.enqueue(tasks(1));
    await clock.advance(10);
    expect(await queue.get("t0")).toMatchObject({ state: "dead", attempt: 1 });
  });

  it("aborts a handler whose time is over, counts it as failed and frees its slot", async () => {
    const { clock, queue, start } = setUp();
    const aborted: unknown[] = [];
    start(
      ({ signal }) => {
        signal.addEventListener("abort", () => aborted.push(signal.reason));
        return new Promise(() => undefined);
      },
      { timeoutMs: 500, concurrency: 1 },
    );
    await queue.enqueue(tasks(2, { maxAttempts: 1 }));
    await clock.advance(1001);
    expect(aborted).toMatchObject([{ code: "KERNEL_TIMEOUT" }, { code: "KERNEL_TIMEOUT" }]);
    expect((await queue.stats()).dead).toBe(2);
  });

  it("stops a cancelled task and reports nothing for it", async () => {
    const { clock, queue, start } = setUp();
    let reason: unknown;
    start(
      ({ signal }) =>
        new Promise((_, reject) => {
          signal.addEventListener("abort", () => {
            reason = signal.reason;
            reject(signal.reason);
          });
        }),
    );
    await queue.enqueue(tasks(1, { group: "g" }));
    await clock.advance(10);
    await queue.cancelGroups(["g"]);
    await clock.advance(LEASE_MS);
    expect(reason).toBeInstanceOf(TaskCancelledError);
    expect(await queue.get("t0")).toMatchObject({ state: "cancelled", failures: [] });
  });

  it("takes over what a dead worker left, after its lease", async () => {
    const { clock, queue, start } = setUp();
    await queue.enqueue(tasks(3));
    await queue.claim({ worker: "dead", maxCount: 3, leaseMs: LEASE_MS });
    start(async () => 1);
    await clock.advance(2 * LEASE_MS);
    expect((await queue.stats()).completed).toBe(3);
    expect((await queue.get("t0"))?.attempt).toBe(2);
  });

  it("takes back all that dead workers left, however much, with its next look", async () => {
    const { clock, queue, start } = setUp();
    await queue.enqueue(tasks(3500));
    await queue.claim({ worker: "dead", maxCount: 3500, leaseMs: LEASE_MS });
    start(async () => 1, { concurrency: 100, prefetch: 900 });
    await clock.advance(LEASE_MS - 1);
    expect(await queue.stats()).toMatchObject({ completed: 0, claimed: 3500 });
    await clock.advance(LEASE_MS / 4 + 1);
    expect(await queue.stats()).toMatchObject({ completed: 3500, total: 3500 });
  });

  it("looks for what dead workers left as soon as it starts", async () => {
    const { clock, queue, start } = setUp();
    await queue.enqueue(tasks(3));
    await queue.claim({ worker: "dead", maxCount: 3, leaseMs: LEASE_MS });
    await clock.advance(LEASE_MS);
    start(async () => 1);
    await clock.advance(1);
    expect(await queue.stats()).toMatchObject({ completed: 3, total: 3 });
  });

  it("lets running tasks finish when it stops, and claims no more", async () => {
    const { clock, queue, start } = setUp();
    const worker = start(
      async () => {
        await clock.sleep(2000);
        return 1;
      },
      { concurrency: 2, drainMs: 5000 },
    );
    await queue.enqueue(tasks(5));
    await clock.advance(1000);
    worker.stop();
    await clock.advance(1000);
    await worker.ended;
    expect(await queue.stats()).toMatchObject({ completed: 2, pending: 3 });
  });

  it("gives back what does not finish within the drain, without counting the attempt", async () => {
    const { clock, queue, start } = setUp();
    const worker = start(() => new Promise(() => undefined), { drainMs: 700, concurrency: 1 });
    await queue.enqueue(tasks(2));
    await clock.advance(10);
    worker.stop();
    await clock.advance(700);
    await worker.ended;
    expect(await queue.get("t0")).toMatchObject({ state: "pending", attempt: 0 });
    expect(clock.pendingCount).toBe(0);
  });

  it("rides out an outage: what was done is reported once the store is back", async () => {
    const { clock, queue, start } = setUp();
    const handler = vi.fn(async () => 1);
    start(handler);
    await queue.enqueue(tasks(1));
    vi.spyOn(queue, "complete").mockRejectedValueOnce(new StoreUnavailableError("complete"));
    vi.spyOn(queue, "claim").mockRejectedValueOnce(new StoreUnavailableError("claim"));
    await clock.advance(2500);
    expect(handler).toHaveBeenCalledTimes(1);
    expect((await queue.get("t0"))?.state).toBe("completed");
  });
});
