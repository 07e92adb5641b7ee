import { VirtualClock } from "@holdfast/kernel/testing";
import type { Assignment } from "@holdfast/protocol/contract";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { ShardCancelledError, WorkerDrainingError, WorkflowModuleError } from "../errors.ts";
import type { Executor, ShardOutcome } from "./executor.ts";
import { HeldShards } from "./held-shards.ts";

const completed: ShardOutcome = {
  kind: "completed",
  output: null,
  totals: { counters: {}, histograms: {} },
  progress: { done: 0, total: 0 },
  startedAt: 0,
  finishedAt: 0,
  lastUpdate: undefined,
};

const assignment = (id: number, token = 1): Assignment => ({
  taskId: `task-${id}`,
  token: String(token),
  jobId: "job-1",
  workflowId: "wf-1",
  name: "w",
  workflow: "w",
  shard: id,
  shardCount: 1_000,
  attempt: 1,
  maxAttempts: 3,
  input: null,
  timeoutMs: 1_000,
  datacenter: "east",
  leader: { nodeId: "m", address: "m:1", fence: "1" },
  dependencies: {},
});

/** An executor whose attempts end when the test says so. */
const setUp = (cores: number) => {
  const clock = new VirtualClock();
  const running = new Map<string, (outcome: ShardOutcome) => void>();
  let mostAtOnce = 0;
  const executor: Executor = {
    capacity: cores,
    start: async () => [],
    validate: async () => {
      throw new Error("not asked in this test");
    },
    execute: ({ taskId, token }) => ({
      outcome: new Promise((resolve) => {
        const key = `${taskId}#${token}`;
        running.set(key, (outcome) => {
          running.delete(key);
          resolve(outcome);
        });
        mostAtOnce = Math.max(mostAtOnce, running.size);
      }),
      collect: () => undefined,
      stop: (reason) =>
        running.get(`${taskId}#${token}`)?.({
          kind: "failed",
          error: { code: reason.code, message: reason.message, retryable: false },
          retry: false,
          uncounted: true,
          lastUpdate: undefined,
        }),
    }),
    close: async () => undefined,
    [Symbol.asyncDispose]: async () => undefined,
  };
  const outcomes: string[] = [];
  const forgotten: string[] = [];
  const failures: string[] = [];
  const held: HeldShards = new HeldShards({
    nodeId: "w",
    cores,
    executor,
    clock,
    onTaken: () => undefined,
    onUpdate: () => undefined,
    onOutcome: ({ assignment: { taskId, token } }, outcome) => {
      outcomes.push(`${taskId}#${token}`);
      if (outcome.kind === "failed") failures.push(`${taskId} ${outcome.error.code}`);
    },
    onForgotten: ({ assignment: { taskId, token } }) => forgotten.push(`${taskId}#${token}`),
    mayClaim: () => true,
  });
  return { clock, held, executor, running, outcomes, failures, forgotten, mostAtOnce: () => mostAtOnce };
};

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

describe("the claims of a worker", () => {
  it("never hold more cores than there are, and end each claim exactly once, whatever happens in which order", async () => {
    const step = fc.oneof(
      fc.record({ kind: fc.constant("claim" as const), count: fc.integer({ min: 0, max: 6 }) }),
      fc.record({ kind: fc.constant("finish" as const), which: fc.nat(20) }),
      fc.record({ kind: fc.constant("stop" as const), which: fc.nat(20) }),
      fc.record({ kind: fc.constant("again" as const), which: fc.nat(20) }),
      fc.constant({ kind: "give back" as const }),
    );
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 1, max: 4 }),
        fc.array(step, { maxLength: 40 }),
        async (cores, steps) => {
          const { clock, held, running, outcomes, forgotten, mostAtOnce } = setUp(cores);
          const taken: string[] = [];
          let nextId = 0;
          const lease = { leaseEndsAt: 1_000 };
          const claims = () => [...held.all];
          for (const item of steps) {
            // Slow shards, so that nothing is claimed ahead.
            await clock.advance(100);
            if (item.kind === "claim" && held.runningCount + held.queuedCount < cores) {
              const room = await held.reserve({});
              const count = Math.min(item.count, room);
              expect(room + held.runningCount + held.queuedCount).toBeLessThanOrEqual(cores);
              const fresh = Array.from({ length: count }, () => assignment(nextId++));
              taken.push(...fresh.map(({ taskId, token }) => `${taskId}#${token}`));
              held.take(fresh, lease);
              held.unreserve(room);
            } else if (item.kind === "finish") {
              [...running.values()][item.which % Math.max(1, running.size)]?.(completed);
            } else if (item.kind === "stop") {
              const claim = claims()[item.which % Math.max(1, held.size)];
              if (claim !== undefined) held.stop(claim, new ShardCancelledError("x", ""));
            } else if (item.kind === "again") {
              const claim = claims()[item.which % Math.max(1, held.size)];
              if (claim !== undefined) held.take([claim.assignment], lease);
            } else if (item.kind === "give back") held.giveBackQueued(new WorkerDrainingError("w"));
            await turn();
            for (const claim of claims()) if (claim.state === "reporting") held.forget(claim);
          }
          for (const end of [...running.values()]) end(completed);
          await turn();
          for (const claim of claims()) held.forget(claim);
          expect(mostAtOnce()).toBeLessThanOrEqual(cores);
          expect(held).toMatchObject({ size: 0, runningCount: 0, queuedCount: 0, reservedCount: 0 });
          expect([...outcomes].sort()).toEqual([...taken].sort());
          expect([...forgotten].sort()).toEqual([...taken].sort());
        },
      ),
      { numRuns: 60 },
    );
  });

  it("let a newer claim of a shard take the place of an older one, silently", async () => {
    const { held, running, outcomes, forgotten } = setUp(2);
    held.take([assignment(1, 1)], { leaseEndsAt: 1 });
    held.take([assignment(1, 2)], { leaseEndsAt: 1 });
    await turn();
    expect([...running.keys()]).toEqual(["task-1#2"]);
    expect(forgotten).toEqual(["task-1#1"]);
    expect(outcomes).toEqual([]);
    running.get("task-1#2")?.(completed);
    await turn();
    expect(outcomes).toEqual(["task-1#2"]);
  });

  it("go back, saying why, when nothing has ended for half a second while they wait for a core", async () => {
    const { clock, held, failures } = setUp(1);
    held.take([assignment(1), assignment(2), assignment(3)], { leaseEndsAt: 10_000 });
    await clock.advance(400);
    held.giveBackOverdue();
    expect(failures).toEqual([]);
    await clock.advance(200);
    held.giveBackOverdue();
    expect(failures).toEqual(["task-2 JOBS_SHARD_GIVEN_BACK", "task-3 JOBS_SHARD_GIVEN_BACK"]);
    expect(held).toMatchObject({ runningCount: 1, queuedCount: 0 });
  });

  it("stay, however long the line, while short shards still follow each other", async () => {
    const { clock, held, running, failures } = setUp(1);
    held.take(
      Array.from({ length: 60 }, (_, index) => assignment(index)),
      { leaseEndsAt: 10_000 },
    );
    for (let index = 0; index < 59; index += 1) {
      await clock.advance(20);
      running.get(`task-${index}#1`)?.(completed);
      await turn();
      held.giveBackOverdue();
    }
    expect(failures).toEqual([]);
    expect(held).toMatchObject({ runningCount: 1, queuedCount: 0 });
  });

  it("let those who wait for work to do rest until there is some", async () => {
    const { held } = setUp(1);
    let isBusy = false;
    const busy = held.whenBusy({}).then(() => {
      isBusy = true;
    });
    await turn();
    expect(isBusy).toBe(false);
    held.take([assignment(1)], { leaseEndsAt: 1_000 });
    await busy;
    await held.whenBusy({});
  });

  it("take the same answer once, however often it comes", async () => {
    const { held, running } = setUp(2);
    for (let round = 0; round < 3; round += 1) held.take([assignment(1, 1)], { leaseEndsAt: 1 });
    expect(held.size).toBe(1);
    expect(running.size).toBe(1);
  });

  it("fail where an attempt cannot even begin, and keep no core for it", async () => {
    const { held, executor, failures, outcomes } = setUp(2);
    executor.execute = () => {
      throw new WorkflowModuleError("workflows.ts", "is gone");
    };
    held.take([assignment(1), assignment(2), assignment(3)], { leaseEndsAt: 1_000 });
    await turn();
    expect(outcomes).toEqual(["task-1#1", "task-2#1", "task-3#1"]);
    expect(failures[0]).toBe(`task-1 ${new WorkflowModuleError("workflows.ts", "is gone").code}`);
    expect(held.runningCount).toBe(0);
  });
});
