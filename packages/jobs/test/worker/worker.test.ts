import { InvalidMessageError } from "@holdfast/protocol";
import { describe, expect, it, vi } from "vitest";
import { NodeNotReadyError } from "../../src/index.ts";
import { createScene } from "./worker-scene.ts";

describe("a worker", () => {
  it("registers with what it offers, and again and again while idle", async () => {
    const { manager, startWorker, clock } = await createScene();
    const worker = await startWorker({ host: "host-a", pid: 42 });
    expect(manager.registrations[0]).toMatchObject({
      nodeId: "worker-1",
      datacenter: "east",
      cores: 2,
      state: "healthy",
      host: "host-a",
      pid: 42,
    });
    expect(manager.registrations[0]?.workflows.map(({ name }) => name)).toEqual(worker.workflows);
    await clock.advance(14_000);
    expect(manager.registrations.length).toBeGreaterThanOrEqual(4);
    expect(worker.state).toBe("healthy");
    await stopped(clock, worker.stop());
  });

  it("runs what it claims and reports each outcome once", async () => {
    const { tasks, startWorker, assignment, until, clock } = await createScene();
    const worker = await startWorker();
    tasks.add(...Array.from({ length: 20 }, (_, shard) => assignment(shard, { input: { ms: 30 } })));
    await until(() => tasks.outcomes.length === 20);
    expect(tasks.outcomes.map((outcome) => outcome.kind === "completed" && outcome.output)).toEqual(
      expect.arrayContaining(Array.from({ length: 20 }, (_, shard) => ({ shard }))),
    );
    expect(tasks.claimed.size).toBe(0);
    await clock.advance(10);
    expect(worker.stats()).toMatchObject({ completedShards: 20, busyCores: 0, undeliveredOutcomes: 0 });
    await stopped(clock, worker.stop());
  });

  it("never runs more shards at once than it has cores", async () => {
    const { tasks, startWorker, assignment, until, clock } = await createScene();
    const worker = await startWorker({ cores: 3 });
    tasks.add(...Array.from({ length: 12 }, (_, shard) => assignment(shard, { input: { ms: 100 } })));
    let most = 0;
    await until(() => {
      most = Math.max(most, worker.stats().busyCores);
      return tasks.outcomes.length === 12;
    });
    expect(most).toBe(3);
    // Long shards: nothing is claimed ahead of the cores.
    expect(tasks.claimed.size).toBe(0);
    await stopped(clock, worker.stop());
  });

  it("claims ahead only while shards are short", async () => {
    const { tasks, manager, startWorker, assignment, until, clock } = await createScene();
    const worker = await startWorker();
    tasks.add(...Array.from({ length: 200 }, (_, shard) => assignment(shard)));
    await until(() => tasks.outcomes.length === 200);
    expect(Math.max(...manager.claimSizes)).toBeGreaterThan(20);
    tasks.add(
      ...Array.from({ length: 40 }, (_, shard) => assignment(shard, { token: "11", input: { ms: 2_000 } })),
    );
    await until(() => tasks.outcomes.length >= 210);
    manager.claimSizes.length = 0;
    await until(() => manager.claimSizes.length > 3);
    expect(Math.max(...manager.claimSizes)).toBeLessThanOrEqual(2);
    await stopped(clock, worker.kill());
  });

  it("gives claims ahead back, uncounted, when they wait behind longer shards", async () => {
    const { tasks, startWorker, assignment, until, clock } = await createScene();
    const worker = await startWorker();
    tasks.add(...Array.from({ length: 60 }, (_, shard) => assignment(shard)));
    await until(() => tasks.outcomes.length === 60);
    tasks.add(
      ...Array.from({ length: 30 }, (_, shard) => assignment(shard, { token: "11", input: { ms: 20_000 } })),
    );
    await until(() => tasks.outcomes.length >= 80, 5_000);
    const givenBack = tasks.outcomes.filter((outcome) => outcome.kind === "failed");
    expect(givenBack.length).toBeGreaterThan(20);
    const error = { code: "JOBS_SHARD_GIVEN_BACK" };
    for (const outcome of givenBack) expect(outcome).toMatchObject({ retry: true, uncounted: true, error });
    await stopped(clock, worker.kill());
  });

  it("renews what it holds at a third of the lease", async () => {
    const { tasks, startWorker, assignment, until, clock } = await createScene({ taskLeaseMs: 3_000 });
    const worker = await startWorker();
    tasks.add(assignment(0, { input: { ms: 10_000 } }));
    await until(() => tasks.outcomes.length === 1);
    expect(tasks.renewalCounts.get("job-1/wf-1/0")).toBeGreaterThanOrEqual(9);
    expect(tasks.renewalCounts.get("job-1/wf-1/0")).toBeLessThanOrEqual(11);
    await stopped(clock, worker.stop());
  });

  it.each([
    ["answers a renewal with cancelled", "renew"],
    ["pushes a cancel", "push"],
    ["names it in a progress answer", "progress"],
  ])("stops a shard when its manager %s, and confirms it", async (_what, how) => {
    const { tasks, manager, startWorker, assignment, until, clock } = await createScene();
    const worker = await startWorker();
    const shard = assignment(0, { name: "count", workflow: "count", input: { times: 100_000 } });
    tasks.add(shard);
    await until(() => worker.stats().busyCores === 1);
    if (how === "renew") manager.onRenew = () => "cancelled";
    if (how === "push") manager.cancel(shard.taskId, shard.token);
    if (how === "progress") manager.onProgress = () => ({ delayMs: 0, cancelled: [shard.taskId] });
    await until(() => tasks.outcomes.length === 1, 5_000);
    expect(tasks.outcomes[0]).toMatchObject({
      kind: "failed",
      error: { code: "JOBS_SHARD_CANCELLED" },
      // Whether the job is over is its leader's to say.
      retry: true,
      uncounted: true,
    });
    expect(worker.stats().busyCores).toBe(0);
    await stopped(clock, worker.stop());
  });

  it("stops a shard whose claim is lost and says nothing about it", async () => {
    const { tasks, manager, startWorker, assignment, until, clock } = await createScene();
    const worker = await startWorker();
    tasks.add(assignment(0, { input: { ms: 60_000 } }));
    await until(() => worker.stats().busyCores === 1);
    manager.onRenew = () => "lost";
    await until(() => worker.stats().busyCores === 0, 5_000);
    await clock.advance(5_000);
    expect(manager.outcomeRequestCount).toBe(0);
    await stopped(clock, worker.stop());
  });

  it("goes on through a loss of all managers shorter than the grace, and stops after it", async () => {
    const { tasks, manager, startWorker, assignment, until, clock } = await createScene();
    const worker = await startWorker({ orphanGraceMs: 10_000 });
    tasks.add(assignment(0, { input: { ms: 300_000 } }));
    await until(() => worker.stats().busyCores === 1);
    await stopped(clock, manager.stop());
    await clock.advance(8_000);
    expect(worker.state).toBe("degraded");
    expect(worker.stats().busyCores).toBe(1);
    await clock.advance(8_000);
    expect(worker.stats().busyCores).toBe(0);
    await stopped(clock, worker.kill());
  });

  it("comes to rest after a loss of all managers, though figures still waited for one of them", async () => {
    const { tasks, manager, startWorker, assignment, until, clock } = await createScene();
    const worker = await startWorker({ orphanGraceMs: 1_000 });
    tasks.add(assignment(0, { name: "count", workflow: "count", input: { times: 10_000 } }));
    await until(() => manager.progress.length > 0);
    await stopped(clock, manager.stop());
    await clock.advance(10_000);
    expect(worker.stats().busyCores).toBe(0);
    const waits = vi.spyOn(clock, "sleep");
    await clock.advance(5_000);
    // That is how often managers want progress.
    expect(waits.mock.calls.filter(([ms]) => ms === 100)).toEqual([]);
    await stopped(clock, worker.kill());
  });

  it("ends by force what ignores its signal, 5 s after the attempt's limit, and frees the core", async () => {
    const { tasks, startWorker, assignment, until, clock } = await createScene();
    const worker = await startWorker();
    tasks.add(assignment(0, { name: "stubborn", workflow: "stubborn", timeoutMs: 1_000 }));
    const startedAt = clock.monotonicNow();
    await until(() => tasks.outcomes.length === 1);
    expect(clock.monotonicNow() - startedAt).toBeLessThan(6_500);
    expect(tasks.outcomes[0]).toMatchObject({
      kind: "failed",
      retry: true,
      uncounted: false,
      error: { code: "JOBS_SHARD_TIMEOUT", message: expect.stringContaining("did not stop within 5000 ms") },
    });
    expect(worker.stats().busyCores).toBe(0);
    await stopped(clock, worker.stop());
  });

  it.each([
    ["may be tried again with the error's own words", false, { retry: true, code: "JOBS_WORKFLOW_FAILED" }],
    ["is final when the workflow says so", true, { retry: false, code: "JOBS_PERMANENT" }],
  ])("reports a failure that %s", async (_what, permanent, { retry, code }) => {
    const { tasks, startWorker, assignment, until, clock } = await createScene();
    const worker = await startWorker();
    tasks.add(assignment(0, { name: "fail", workflow: "fail", input: { permanent } }));
    await until(() => tasks.outcomes.length === 1);
    expect(tasks.outcomes[0]).toMatchObject({
      kind: "failed",
      retry,
      uncounted: false,
      error: {
        code,
        message: permanent ? "there is no such file" : "bad row",
        ...(permanent ? {} : { details: { name: "TypeError", code: "E_ROW" } }),
      },
    });
    await stopped(clock, worker.stop());
  });

  it.each([
    ["an input that fails the schema", { input: { ms: "soon" } }, "JOBS_INVALID_INPUT", false],
    ["a workflow that it does not have", { workflow: "unheard-of" }, "JOBS_UNKNOWN_WORKFLOW", true],
  ])("reports %s", async (_what, overrides, code, retry) => {
    const { tasks, startWorker, assignment, until, clock } = await createScene();
    const worker = await startWorker();
    tasks.add(assignment(0, overrides));
    await until(() => tasks.outcomes.length === 1);
    expect(tasks.outcomes[0]).toMatchObject({ kind: "failed", retry, error: { code } });
    await stopped(clock, worker.stop());
  });

  it("answers whether an input is acceptable", async () => {
    const { manager, startWorker, clock } = await createScene();
    const worker = await startWorker();
    const ask = async (workflow: string, input: unknown) => {
      const answer = manager.validate(workflow, input);
      await clock.advance(10);
      return answer;
    };
    expect(await ask("sleep", { ms: 5 })).toMatchObject({ outcome: "valid", issues: [], shards: 1 });
    expect(await ask("sleep", { ms: "soon" })).toMatchObject({
      outcome: "invalid",
      issues: [{ path: "ms", value: "soon" }],
    });
    expect(await ask("nope", {})).toMatchObject({ outcome: "unknown-workflow", known: worker.workflows });
    await stopped(clock, worker.stop());
  });

  it("turns to the next manager when one cannot give work", async () => {
    const { managers, tasks, startWorker, assignment, until, clock } = await createScene({ managerCount: 2 });
    const worker = await startWorker();
    await until(() => worker.stats().managers.length === 2);
    const [first] = managers;
    if (first !== undefined) first.onClaim = () => new NodeNotReadyError("manager-1", "its store is away");
    tasks.add(...Array.from({ length: 10 }, (_, shard) => assignment(shard)));
    await until(() => tasks.outcomes.length === 10);
    await stopped(clock, worker.stop());
  });
});

describe("progress", () => {
  it("adds up to the totals of the outcome, and comes before it", async () => {
    const { tasks, manager, startWorker, assignment, until, clock } = await createScene();
    const worker = await startWorker();
    let atOutcome = 0;
    const settle = manager.onOutcome;
    manager.onOutcome = (outcome) => {
      atOutcome = manager.progress.length;
      return settle(outcome);
    };
    tasks.add(assignment(0, { name: "count", workflow: "count", input: { times: 100 } }));
    await until(() => tasks.outcomes.length === 1);
    const updates = manager.progress.flatMap((report) => report.updates);
    expect(manager.progress.length).toBe(atOutcome);
    expect(manager.progress.length).toBeGreaterThan(5);
    expect(updates.reduce((sum, { counters }) => sum + (counters["rows"] ?? 0), 0)).toBe(200);
    expect(updates.reduce((sum, { histograms }) => sum + (histograms["ms"]?.count ?? 0), 0)).toBe(100);
    expect(updates.flatMap(({ logs }) => logs).length).toBe(100);
    expect(updates.at(-1)?.progress).toEqual({ done: 100, total: 100 });
    expect(tasks.outcomes[0]).toMatchObject({
      output: 100,
      totals: { counters: { rows: 200 }, histograms: { ms: { count: 100, min: 1, max: 100 } } },
    });
    const sequences = manager.progress.map(({ sequence }) => sequence);
    expect(sequences).toEqual(sequences.map((_, index) => (sequences[0] ?? 0) + index));
    await stopped(clock, worker.stop());
  });

  it("comes less often when the manager asks for a pause, and still adds up", async () => {
    const { tasks, manager, startWorker, assignment, until, clock } = await createScene();
    const worker = await startWorker();
    manager.onProgress = () => ({ delayMs: 2_000, cancelled: [] });
    tasks.add(assignment(0, { name: "count", workflow: "count", input: { times: 1_000 } }));
    await until(() => tasks.outcomes.length === 1);
    expect(manager.progress.length).toBeLessThanOrEqual(6);
    await clock.advance(3_000);
    const updates = manager.progress.flatMap((report) => report.updates);
    expect(updates.reduce((sum, { counters }) => sum + (counters["rows"] ?? 0), 0)).toBe(2_000);
    await stopped(clock, worker.stop());
  });

  it("repeats a report that failed under the same number", async () => {
    const { tasks, manager, startWorker, assignment, until, clock } = await createScene();
    const worker = await startWorker();
    let failures = 0;
    manager.onProgress = () => {
      failures += 1;
      return failures <= 2 ? new Error("store away") : { delayMs: 0, cancelled: [] };
    };
    tasks.add(assignment(0, { name: "count", workflow: "count", input: { times: 50 } }));
    await until(() => tasks.outcomes.length === 1);
    const updates = manager.progress.flatMap((report) => report.updates);
    expect(updates.reduce((sum, { counters }) => sum + (counters["rows"] ?? 0), 0)).toBe(100);
    expect(worker.stats().droppedUpdates).toBe(0);
    await stopped(clock, worker.stop());
  });
});

describe("outcomes", () => {
  it("are kept and repeated until a manager takes them", async () => {
    const { tasks, manager, startWorker, assignment, until, clock } = await createScene();
    const worker = await startWorker();
    const settle = manager.onOutcome;
    manager.onOutcome = () => {
      throw new Error("store away");
    };
    tasks.add(...Array.from({ length: 5 }, (_, shard) => assignment(shard)));
    await clock.advance(20_000);
    expect(worker.stats().undeliveredOutcomes).toBe(5);
    // The claims are renewed meanwhile, so nobody runs the shards again.
    expect(tasks.renewalCounts.get("job-1/wf-1/0")).toBeGreaterThan(10);
    manager.onOutcome = settle;
    await until(() => tasks.outcomes.length === 5);
    await until(() => worker.stats().undeliveredOutcomes === 0);
    await stopped(clock, worker.stop());
  });

  it("stop the worker from claiming more while too many of them wait, and none is dropped", async () => {
    const { tasks, manager, startWorker, assignment, until, clock } = await createScene();
    const worker = await startWorker({ cores: 4 });
    const settle = manager.onOutcome;
    manager.onOutcome = () => {
      throw new Error("store away");
    };
    tasks.add(...Array.from({ length: 4_000 }, (_, shard) => assignment(shard)));
    await until(() => worker.stats().undeliveredOutcomes >= 2_000);
    await clock.advance(10_000);
    // What was claimed already still runs to its end: at most what is claimed ahead.
    expect(worker.stats().undeliveredOutcomes).toBeLessThan(2_600);
    expect(worker.state).toBe("degraded");
    expect(tasks.waiting.length).toBeGreaterThan(1_400);
    manager.onOutcome = settle;
    await until(() => tasks.outcomes.length === 4_000);
    await stopped(clock, worker.stop());
  });

  it("that no manager can read become failures that say so", async () => {
    const { tasks, manager, startWorker, assignment, until, clock } = await createScene();
    const worker = await startWorker();
    const settle = manager.onOutcome;
    manager.onOutcome = (outcome) => {
      if (outcome.kind === "completed" && outcome.shard === 1) {
        throw new InvalidMessageError("worker.outcomes", "input", [{ path: "totals", message: "is odd" }]);
      }
      return settle(outcome);
    };
    tasks.add(...Array.from({ length: 4 }, (_, shard) => assignment(shard)));
    await until(() => tasks.outcomes.length === 4);
    expect(tasks.outcomes.filter(({ kind }) => kind === "completed").length).toBe(3);
    expect(tasks.outcomes.find(({ shard }) => shard === 1)).toMatchObject({
      kind: "failed",
      retry: false,
      error: { code: "JOBS_INVALID_OUTPUT", message: expect.stringContaining("is odd") },
    });
    await stopped(clock, worker.stop());
  });

  it("follow a redirect to the job's leader, and remember it", async () => {
    const { managers, tasks, startWorker, assignment, until, clock } = await createScene({ managerCount: 2 });
    const worker = await startWorker();
    await until(() => worker.stats().managers.length === 2);
    const [first, second] = managers;
    if (first === undefined || second === undefined) throw new Error("two managers");
    first.onOutcome = () => ({ outcome: "not-leader", leader: { ...second.leader, fence: "2" } });
    tasks.add(...Array.from({ length: 4 }, (_, shard) => assignment(shard, { input: { ms: 50 } })));
    await until(() => tasks.outcomes.length === 4);
    expect(second.outcomeRequestCount).toBeGreaterThan(0);
    await stopped(clock, worker.stop());
  });

  it("go to the new leader when it announces itself, and to it only under a larger fence", async () => {
    const { managers, tasks, startWorker, assignment, until, clock } = await createScene({ managerCount: 2 });
    const worker = await startWorker();
    await until(() => worker.stats().managers.length === 2);
    const [first, second] = managers;
    if (first === undefined || second === undefined) throw new Error("two managers");
    first.onOutcome = () => ({ outcome: "not-leader" });
    second.onOutcome = () => ({ outcome: "not-leader" });
    tasks.add(assignment(0, { leader: { ...first.leader, fence: "5" } }));
    await until(() => first.outcomeRequestCount > 0);
    second.announce("job-1", { ...second.leader, fence: "5" });
    await clock.advance(10);
    const settle = (outcome: Parameters<typeof first.onOutcome>[0]) => ({ outcome: tasks.settle(outcome) });
    second.onOutcome = settle;
    second.announce("job-1", { ...second.leader, fence: "6" });
    await until(() => tasks.outcomes.length === 1, 1_000);
    expect(second.outcomeRequestCount).toBeGreaterThan(0);
    await stopped(clock, worker.stop());
  });

  it("reach another manager when the leader is gone", async () => {
    const { managers, tasks, startWorker, assignment, until, clock } = await createScene({ managerCount: 3 });
    const worker = await startWorker();
    await until(() => worker.stats().managers.length === 3);
    tasks.add(assignment(0, { input: { ms: 500 } }));
    await until(() => worker.stats().busyCores === 1);
    await stopped(clock, managers[0]?.stop() ?? Promise.resolve());
    await until(() => tasks.outcomes.length === 1);
    await stopped(clock, worker.stop());
  });

  it("that are stale are dropped", async () => {
    const { tasks, manager, startWorker, assignment, until, clock } = await createScene();
    const worker = await startWorker();
    manager.onOutcome = () => ({ outcome: "stale" });
    tasks.add(assignment(0));
    await until(() => worker.stats().completedShards === 1 && worker.stats().undeliveredOutcomes === 0);
    await clock.advance(10_000);
    expect(manager.outcomeRequestCount).toBe(1);
    await stopped(clock, worker.stop());
  });
});

describe("draining", () => {
  it("finishes what runs, takes nothing more and tells its managers", async () => {
    const { tasks, manager, startWorker, assignment, until, clock } = await createScene();
    const worker = await startWorker();
    tasks.add(...Array.from({ length: 10 }, (_, shard) => assignment(shard, { input: { ms: 3_000 } })));
    await until(() => worker.stats().busyCores === 2);
    const stopping = worker.stop({ drainMs: 10_000 });
    await clock.advance(1_000);
    expect(worker.state).toBe("draining");
    expect(manager.registrations.at(-1)?.state).toBe("draining");
    await stopped(clock, stopping);
    expect(worker.state).toBe("offline");
    expect(tasks.outcomes.map(({ kind }) => kind)).toEqual(["completed", "completed"]);
    expect(tasks.waiting.length).toBe(8);
  });

  it("takes no time when nothing runs", async () => {
    const { startWorker, clock } = await createScene();
    const worker = await startWorker();
    const startedAt = clock.monotonicNow();
    await stopped(clock, worker.stop());
    expect(clock.monotonicNow() - startedAt).toBeLessThan(100);
  });

  it("gives back, uncounted, what does not end in time", async () => {
    const { tasks, startWorker, assignment, until, clock } = await createScene();
    const worker = await startWorker();
    tasks.add(assignment(0, { input: { ms: 100_000 } }));
    await until(() => worker.stats().busyCores === 1);
    await stopped(clock, worker.stop({ drainMs: 2_000 }));
    expect(tasks.outcomes).toMatchObject([
      { kind: "failed", error: { code: "JOBS_WORKER_DRAINING" }, retry: true, uncounted: true },
    ]);
  });

  it("leaves no timer behind", async () => {
    const { tasks, manager, startWorker, assignment, until, clock } = await createScene();
    const worker = await startWorker();
    tasks.add(...Array.from({ length: 10 }, (_, shard) => assignment(shard, { input: { ms: 30 } })));
    await until(() => tasks.outcomes.length === 10);
    await stopped(clock, worker.stop());
    await stopped(clock, manager.stop());
    await clock.advance(30_000);
    expect(clock.pendingCount).toBe(0);
  });

  it("is skipped by kill: nothing is said", async () => {
    const { tasks, manager, startWorker, assignment, until, clock } = await createScene();
    const worker = await startWorker();
    tasks.add(assignment(0, { input: { ms: 100_000 } }));
    await until(() => worker.stats().busyCores === 1);
    await stopped(clock, worker.kill());
    await clock.advance(5_000);
    expect(worker.state).toBe("offline");
    expect(manager.outcomeRequestCount).toBe(0);
    expect(tasks.claimed.size).toBe(1);
  });
});

/** Lets virtual time pass until `promise` settles. */
const stopped = async (
  clock: { advanceUntil(condition: () => boolean, limitMs: number): Promise<void> },
  promise: Promise<void>,
): Promise<void> => {
  let isSettled = false;
  const settled = promise.finally(() => {
    isSettled = true;
  });
  settled.catch(() => undefined);
  await clock.advanceUntil(() => isSettled, 120_000);
  await settled;
};
