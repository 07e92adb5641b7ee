import { createMemoryStore } from "@holdfast/coordination/memory";
import { Emitter, seededRandom, silentLogger, TaskGroup } from "@holdfast/kernel";
import { VirtualClock } from "@holdfast/kernel/testing";
import { describe, expect, it, vi } from "vitest";
import { runWorker } from "./run-worker.ts";
import type { NewTask } from "./task-queue.ts";
import type { WorkerEvents, WorkerOptions } from "./worker-options.ts";

const setUp = () => {
  const clock = new VirtualClock();
  const queue = createMemoryStore({ clock, random: seededRandom(1) }).queue("q");
  const group = new TaskGroup({ logger: silentLogger });
  const start = (options: Partial<WorkerOptions>) => {
    const controller = new AbortController();
    const ended = runWorker({
      queue,
      worker: "w",
      leaseMs: 3000,
      clock,
      signal: controller.signal,
      ...options,
    });
    group.spawn("worker", () => ended);
    return { stop: () => controller.abort(new Error("stop")), ended };
  };
  return { clock, queue, start };
};

const tasks = (count: number, more: Partial<NewTask> = {}): NewTask[] =>
  Array.from({ length: count }, (_, index) => ({ id: `t${index}`, type: "work", payload: index, ...more }));

describe("a worker", () => {
  it("claims ahead as far as it may, never runs more than its concurrency, and gives back what it did not start", async () => {
    const { clock, queue, start } = setUp();
    let running = 0;
    let most = 0;
    const worker = start({
      concurrency: 2,
      prefetch: 3,
      handlers: {
        work: async () => {
          running += 1;
          most = Math.max(most, running);
          await clock.sleep(1000);
          running -= 1;
          return undefined;
        },
      },
    });
    await queue.enqueue(tasks(10));
    await clock.advance(500);
    expect(await queue.stats()).toMatchObject({ claimed: 5, pending: 5 });
    await clock.advance(2000);
    expect((await queue.stats()).completed).toBe(4);
    worker.stop();
    await clock.advance(1000);
    await worker.ended;
    expect(most).toBe(2);
    expect(await queue.stats()).toMatchObject({ completed: 6, pending: 4, claimed: 0 });
    expect((await queue.list({ states: ["pending"] })).every(({ attempt }) => attempt === 0)).toBe(true);
  });

  it("has two claims on their way while there is plenty, and never holds more than it may", async () => {
    const { clock, queue, start } = setUp();
    const claim = queue.claim.bind(queue);
    const complete = queue.complete.bind(queue);
    let claiming = 0;
    let mostClaiming = 0;
    let held = 0;
    let mostHeld = 0;
    vi.spyOn(queue, "claim").mockImplementation(async (options) => {
      claiming += 1;
      mostClaiming = Math.max(mostClaiming, claiming);
      await clock.sleep(10);
      const claimed = await claim(options);
      claiming -= 1;
      held += claimed.length;
      mostHeld = Math.max(mostHeld, held);
      return claimed;
    });
    vi.spyOn(queue, "complete").mockImplementation(async (completions, options) => {
      await clock.sleep(25);
      held -= completions.length;
      return complete(completions, options);
    });
    const runs = new Map<string, number>();
    const worker = start({
      concurrency: 4,
      prefetch: 16,
      handlers: {
        work: async ({ task }) => {
          runs.set(task.id, (runs.get(task.id) ?? 0) + 1);
          return undefined;
        },
      },
    });
    await queue.enqueue(tasks(200));
    await clock.advance(3000);
    expect((await queue.stats()).completed).toBe(200);
    expect([...runs.values()]).toEqual(Array.from({ length: 200 }, () => 1));
    expect(mostClaiming).toBe(2);
    expect(mostHeld).toBeGreaterThan(20);
    expect(mostHeld).toBeLessThanOrEqual(36);
    worker.stop();
    await clock.advance(10);
    await worker.ended;
    expect(clock.pendingCount).toBe(0);
  });

  it("reports in one call what ends in one turn, also what starts only as others end", async () => {
    const { clock, queue, start } = setUp();
    const complete = vi.spyOn(queue, "complete");
    await queue.enqueue(tasks(10));
    start({ concurrency: 2, prefetch: 8, handlers: { work: async () => undefined } });
    await clock.advance(100);
    expect((await queue.stats()).completed).toBe(10);
    // Two claims at most; each of them ran five times as many as may run at a time.
    expect(complete.mock.calls.length).toBeLessThanOrEqual(2);
  });

  it("starts tasks in their order with a concurrency of one, however long each claim takes", async () => {
    const { clock, queue, start } = setUp();
    const claim = queue.claim.bind(queue);
    const random = seededRandom(2);
    vi.spyOn(queue, "claim").mockImplementation(async (options) => {
      const claimed = await claim(options);
      await clock.sleep(100 * random.next());
      return claimed;
    });
    const started: number[] = [];
    start({
      concurrency: 1,
      prefetch: 7,
      handlers: {
        work: async ({ task }) => {
          started.push(task.payload as number);
          return undefined;
        },
      },
    });
    await queue.enqueue(tasks(60));
    await clock.advance(5000);
    expect(started).toEqual(Array.from({ length: 60 }, (_, index) => index));
  });

  it("hands tasks of a type to a batch handler together, and fails those alone that it says", async () => {
    const { clock, queue, start } = setUp();
    const sizes: number[] = [];
    const worker = start({
      concurrency: 10,
      handlers: { other: async () => "alone" },
      batches: {
        work: {
          maxCount: 4,
          run: async (contexts) => {
            sizes.push(contexts.length);
            return contexts.map(({ task }) =>
              task.payload === 3 ? new Error("not three") : (task.payload as number),
            );
          },
        },
      },
    });
    await queue.enqueue([...tasks(6, { maxAttempts: 1 }), { id: "x", type: "other", payload: null }]);
    await clock.advance(100);
    expect(sizes).toEqual([4, 2]);
    expect(await queue.stats()).toMatchObject({ completed: 6, dead: 1 });
    expect((await queue.get("t5"))?.result).toBe(5);
    expect((await queue.get("x"))?.result).toBe("alone");
    expect(await queue.get("t3")).toMatchObject({
      state: "dead",
      failures: [{ error: { message: "not three" } }],
    });
    worker.stop();
    await worker.ended;
  });

  it("obeys a task's own timeout before its own, and keeps the newest progress", async () => {
    const { clock, queue, start } = setUp();
    const worker = start({
      timeoutMs: 60_000,
      handlers: {
        work: () => new Promise(() => undefined),
        steps: async (context) => {
          for (let step = 1; step <= 3; step += 1) {
            context.report({ step });
            const { report } = context;
            report({ step: step + 0.5 });
            await clock.sleep(100);
          }
          return "done";
        },
      },
    });
    await queue.enqueue([
      ...tasks(1, { timeoutMs: 500, maxAttempts: 1 }),
      { id: "s", type: "steps", payload: null },
    ]);
    await clock.advance(150);
    expect((await queue.get("s"))?.progress).toEqual({ step: 2.5 });
    await clock.advance(400);
    expect((await queue.get("t0"))?.state).toBe("dead");
    expect(await queue.get("s")).toMatchObject({ state: "completed", progress: { step: 3.5 } });
    worker.stop();
    await worker.ended;
  });

  it("tells what becomes of its tasks once the store has confirmed it", async () => {
    const { clock, queue, start } = setUp();
    const events = new Emitter<WorkerEvents>();
    const told: string[] = [];
    for (const name of ["started", "completed", "failed", "lost"] as const) {
      events.on(name, ({ task }) => told.push(`${name} ${task.id}`));
    }
    events.on("idle", ({ worker }) => told.push(`idle ${worker}`));
    const worker = start({
      events,
      concurrency: 1,
      handlers: {
        work: async ({ task }) => {
          if (task.payload === 1) throw new Error("one");
          if (task.payload === 2) await queue.cancelGroups(["g"]);
          return "done";
        },
      },
    });
    await clock.advance(10);
    await queue.enqueue(tasks(3, { maxAttempts: 1, group: "g" }));
    await clock.advance(100);
    expect(told).toEqual([
      "idle w",
      "started t0",
      "completed t0",
      "started t1",
      "failed t1",
      "started t2",
      "lost t2",
      "idle w",
    ]);
    worker.stop();
    await worker.ended;
  });
});
