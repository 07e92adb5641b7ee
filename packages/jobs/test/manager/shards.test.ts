import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { Histogram } from "../../src/model/histogram.ts";
import { Cluster } from "./cluster.ts";
import { completed, failed } from "./scripted-worker.ts";

describe("shards of a job", () => {
  let cluster: Cluster;
  beforeEach(() => {
    cluster = new Cluster();
  });
  afterEach(() => cluster.close());

  const setUp = async (definitions = { noop: {} }) => {
    const manager = await cluster.manager("m1");
    const worker = await cluster.worker(manager, "w1", definitions);
    const client = await cluster.client(manager);
    return { manager, worker, client };
  };

  it("are dealt out fairly to the workers that wait", async () => {
    const { manager, worker, client } = await setUp();
    const other = await cluster.worker(manager, "w2");
    const claims = [worker.claim(10), other.claim(10)];
    await cluster.advance(10);
    await client.submit([{ name: "a", shards: 12 }]);
    const [mine, theirs] = await cluster.run(Promise.all(claims));
    expect([mine?.length, theirs?.length]).toEqual([6, 6]);
    const shards = [...(mine ?? []), ...(theirs ?? [])].map(({ shard }) => shard);
    expect(new Set(shards).size).toBe(12);
  });

  it("go only to workers that offer their workflow", async () => {
    const { manager, worker, client } = await setUp();
    const other = await cluster.worker(manager, "w2", { special: {} });
    await client.submit([{ name: "a", workflow: "special" }]);
    expect(await worker.claim(10, 500)).toEqual([]);
    expect(await other.claim(10, 500)).toHaveLength(1);
  });

  it("share the job's virtual users, which add up", async () => {
    const { worker, client } = await setUp();
    await client.submit([{ name: "a", shards: 3 }], { vus: 10 });
    const assignments = await worker.claimAll(3);
    const byShard = [...assignments].sort((a, b) => a.shard - b.shard).map(({ vus }) => vus);
    expect(byShard).toEqual([4, 3, 3]);
    await client.submit([{ name: "a" }]);
    expect((await worker.claimAll(1))[0]?.vus).toBeUndefined();
  });

  it("sum up to the result, outputs by shard and histograms merged", async () => {
    const { worker, client } = await setUp();
    const { jobId } = await client.submit([{ name: "a", shards: 3 }]);
    const pooled = new Histogram();
    for (const assignment of await worker.claimAll(3)) {
      const own = new Histogram();
      for (let value = 1; value <= 50; value += 1) {
        own.record(value * (assignment.shard + 1));
        pooled.record(value * (assignment.shard + 1));
      }
      const totals = { counters: { units: assignment.shard + 1 }, histograms: { latency: own.encode() } };
      await worker.complete(assignment, { totals });
    }
    const result = await client.finished(jobId);
    expect(result.workflows[0]).toMatchObject({
      status: "completed",
      shards: { total: 3, completed: 3, failed: 0 },
      outputs: [{ shard: 0 }, { shard: 1 }, { shard: 2 }],
      totals: { counters: { units: 6 } },
    });
    const { encoded: _, ...figures } = pooled.encode();
    const { encoded: __, ...merged } = result.workflows[0]?.totals.histograms["latency"] ?? { encoded: "" };
    expect(merged).toEqual(figures);
  });

  it("of a dependent workflow start when what it depends on has completed, and get its outputs", async () => {
    const { worker, client } = await setUp();
    await client.submit([
      { name: "load", shards: 2 },
      { name: "sum", dependsOn: ["load"] },
    ]);
    const loads = await worker.claimAll(2);
    await worker.complete(loads[0] as (typeof loads)[number]);
    expect(await worker.claim(10, 300)).toEqual([]);
    await worker.complete(loads[1] as (typeof loads)[number]);
    const [sum] = await worker.claimAll(1);
    expect(sum?.dependencies).toEqual({
      load: { outputs: [{ shard: 0 }, { shard: 1 }], counters: { units: 2 } },
    });
  });

  it("are tried again after a failure, with a wait, and no more often than allowed", async () => {
    const { worker, client } = await setUp();
    const { jobId } = await client.submit([{ name: "a", maxAttempts: 2 }]);
    await client.follow(jobId);
    const [first] = await worker.claimAll(1);
    const failedAt = cluster.clock.monotonicNow();
    if (first === undefined) return;
    expect(await worker.fail(first)).toMatchObject({ outcome: "accepted" });
    const [second] = await worker.claimAll(1);
    expect(second?.attempt).toBe(2);
    expect(BigInt(second?.token ?? 0)).toBeGreaterThan(BigInt(first.token));
    expect(cluster.clock.monotonicNow() - failedAt).toBeGreaterThanOrEqual(50);
    if (second === undefined) return;
    await worker.fail(second);
    const result = await client.finished(jobId);
    expect(result).toMatchObject({
      status: "failed",
      errors: ["a: boom"],
      workflows: [{ status: "failed", shards: { failed: 1 }, error: { code: "TEST_BOOM" } }],
    });
    await cluster.until(() => client.ended.has(jobId));
    const attempts = client.events.filter((event) => event.type === "shard.retry");
    expect(attempts).toMatchObject([
      { attempt: 1, worker: "w1", error: { code: "TEST_BOOM" }, retryInMs: expect.any(Number) },
      { attempt: 2, worker: "w1" },
    ]);
  });

  it("fail at once when no further attempt can help", async () => {
    const { worker, client } = await setUp();
    const { jobId } = await client.submit([{ name: "a", maxAttempts: 5 }]);
    const [only] = await worker.claimAll(1);
    if (only !== undefined) await worker.fail(only, { retry: false });
    expect(await client.finished(jobId)).toMatchObject({ status: "failed" });
  });

  it("that were given back go to another worker at once, without counting as an attempt", async () => {
    const { manager, worker, client } = await setUp();
    const other = await cluster.worker(manager, "w2");
    await client.submit([{ name: "a", maxAttempts: 1 }]);
    const [first] = await worker.claimAll(1);
    if (first === undefined) return;
    await worker.fail(first, { uncounted: true });
    const [again] = await other.claim(1, 100);
    expect(again).toMatchObject({ attempt: 1, shard: 0 });
  });

  it("fail their workflow, its dependents and under require-all the whole job, which ends at once", async () => {
    const { worker, client } = await setUp();
    const { jobId } = await client.submit([
      { name: "bad", maxAttempts: 1 },
      { name: "after", dependsOn: ["bad"] },
      { name: "beside", shards: 2 },
    ]);
    const assignments = await worker.claimAll(3);
    const bad = assignments.find(({ name }) => name === "bad");
    const beside = assignments.filter(({ name }) => name === "beside");
    if (bad === undefined) return;
    await worker.fail(bad);
    const result = await client.finished(jobId);
    expect(result.status).toBe("failed");
    expect(result.workflows.map(({ name, status, error }) => [name, status, error?.code])).toEqual([
      ["bad", "failed", "TEST_BOOM"],
      ["after", "failed", "JOBS_DEPENDENCY_FAILED"],
      ["beside", "cancelled", "JOBS_DEPENDENCY_FAILED"],
    ]);
    expect(worker.cancelled.map(({ taskId }) => taskId).sort()).toEqual(
      beside.map(({ taskId }) => taskId).sort(),
    );
    expect(await worker.renew(beside)).toEqual(["cancelled", "cancelled"]);
    expect(await worker.report(beside.map((assignment) => completed(assignment)))).toMatchObject([
      { outcome: "stale" },
      { outcome: "stale" },
    ]);
  });

  it("of independent workflows go on under allow-partial, and the job ends partial", async () => {
    const { worker, client } = await setUp();
    const { jobId } = await client.submit(
      [{ name: "bad", maxAttempts: 1 }, { name: "after", dependsOn: ["bad"] }, { name: "beside" }],
      { policy: "allow-partial" },
    );
    const assignments = await worker.claimAll(2);
    await worker.report(
      assignments.map((assignment) =>
        assignment.name === "bad" ? failed(assignment) : completed(assignment),
      ),
    );
    const result = await client.finished(jobId);
    expect(result.status).toBe("partial");
    expect(result.workflows.map(({ status }) => status)).toEqual(["failed", "failed", "completed"]);
  });

  it("of an exclusive workflow run alone", async () => {
    const { worker, client } = await setUp();
    await client.submit([{ name: "a" }, { name: "alone", priority: "exclusive" }, { name: "b" }]);
    const [alone] = await worker.claimAll(1);
    expect(alone?.name).toBe("alone");
    expect(await worker.claim(10, 300)).toEqual([]);
    if (alone !== undefined) await worker.complete(alone);
    expect((await worker.claimAll(2)).map(({ name }) => name).sort()).toEqual(["a", "b"]);
  });

  it("are claimed by priority", async () => {
    const { worker, client } = await setUp();
    await client.submit([
      { name: "low", priority: "low" },
      { name: "auto" },
      { name: "high", priority: "high" },
    ]);
    const names: string[] = [];
    for (let count = 0; count < 3; count += 1) names.push((await worker.claim(1))[0]?.name ?? "");
    expect(names).toEqual(["high", "auto", "low"]);
  });

  it("of a low priority have their turn when those of a higher one have theirs, and while these wait to be tried again", async () => {
    const { worker, client } = await setUp();
    const { jobId } = await client.submit([
      { name: "high", priority: "high", shards: 3, maxAttempts: 3 },
      { name: "low", priority: "low", shards: 2 },
    ]);
    const turns: string[] = [];
    // One core: whatever comes first is done first. Shards of "high" fail twice each.
    for (let left = 5; left > 0; ) {
      const [assignment] = await worker.claimAll(1);
      if (assignment === undefined) break;
      turns.push(assignment.name);
      if (assignment.name === "high" && assignment.attempt < 3) await worker.fail(assignment);
      else {
        await worker.complete(assignment);
        left -= 1;
      }
    }
    expect(turns.slice(0, 3)).toEqual(["high", "high", "high"]);
    // Every attempt of "high" is bounded, and so is the wait of "low"; here it is not even the last.
    expect(turns.filter((name) => name === "low").length).toBe(2);
    expect(turns.lastIndexOf("high")).toBeGreaterThan(turns.indexOf("low"));
    expect((await client.finished(jobId)).status).toBe("completed");
  });

  it("of a low priority have their turn while jobs of higher ones keep every core busy, and these keep theirs", async () => {
    const { worker, client } = await setUp();
    const submit = (priority: "low" | "auto" | "high") =>
      client.submit([{ name: priority, shards: 8, priority }]);
    const turns: string[] = [];
    // One core. There are always more shards of high priority than it can take.
    for (const priority of ["high", "high", "low", "auto"] as const) await submit(priority);
    for (let count = 0; count < 96; count += 1) {
      if (count % 8 === 0) await submit("high");
      const [assignment] = await worker.claimAll(1);
      if (assignment === undefined) break;
      turns.push(assignment.name);
      await worker.complete(assignment);
    }
    // Each gets at least one in 24, from the beginning on.
    for (let from = 0; from < turns.length; from += 24) {
      const next = turns.slice(from, from + 25);
      expect(next).toContain("low");
      expect(next).toContain("auto");
      expect(next.filter((name) => name === "high").length).toBeGreaterThanOrEqual(21);
    }
  });

  it("whose lease lapses go to another worker; the first one's outcome is refused then", async () => {
    const { manager, worker, client } = await setUp();
    const { jobId } = await client.submit([{ name: "a" }]);
    await client.follow(jobId);
    const [lost] = await worker.claimAll(1);
    const other = await cluster.worker(manager, "w2");
    const [again] = await other.claim(1, 20_000);
    expect(again).toMatchObject({ attempt: 2, taskId: lost?.taskId });
    if (lost === undefined || again === undefined) return;
    expect(await worker.renew([lost])).toEqual(["lost"]);
    expect(await worker.complete(lost, { output: "zombie" })).toMatchObject({ outcome: "stale" });
    expect(await other.complete(again, { output: "right" })).toMatchObject({ outcome: "accepted" });
    const result = await client.finished(jobId);
    expect(result.workflows[0]?.outputs).toEqual(["right"]);
    expect(manager.stats()).toMatchObject({ lapsedClaims: 1, outcomes: { accepted: 1, stale: 1 } });
    expect(client.events).toContainEqual(
      expect.objectContaining({
        type: "shard.retry",
        attempt: 1,
        worker: "w1",
        error: expect.objectContaining({ code: "JOBS_CLAIM_LOST" }),
      }),
    );
  });

  it("stay with a worker that renews", async () => {
    const { manager, worker, client } = await setUp();
    const { jobId } = await client.submit([{ name: "a" }]);
    const [held] = await worker.claimAll(1);
    if (held === undefined) return;
    for (let round = 0; round < 8; round += 1) {
      await cluster.advance(2_000);
      expect(await worker.renew([held])).toEqual(["renewed"]);
    }
    expect(manager.view().workers[0]).toMatchObject({ nodeId: "w1", busyCores: 1 });
    await worker.complete(held);
    expect(await client.finished(jobId)).toMatchObject({ status: "completed" });
    expect(manager.view().workers[0]).toMatchObject({ busyCores: 0, completedShards: 1 });
  });

  it("whose last attempt lapses fail their job", async () => {
    const { worker, client } = await setUp();
    const { jobId } = await client.submit([{ name: "a", maxAttempts: 1 }]);
    await worker.claimAll(1);
    const result = await client.finished(jobId);
    expect(result).toMatchObject({ status: "failed", workflows: [{ error: { code: "JOBS_CLAIM_LOST" } }] });
  });

  it("count once when the worker repeats an outcome whose answer it missed", async () => {
    const { worker, client } = await setUp();
    const { jobId } = await client.submit([{ name: "a", shards: 2 }]);
    const [first, second] = await worker.claimAll(2);
    if (first === undefined || second === undefined) return;
    const results = await worker.report([completed(first), completed(first)]);
    expect(results).toMatchObject([{ outcome: "accepted" }, { outcome: "accepted" }]);
    expect(await worker.complete(first)).toMatchObject({ outcome: "accepted" });
    expect((await client.get(jobId)).workflows[0]?.shards.completed).toBe(1);
    await worker.complete(second);
    // The job has ended by now.
    expect(await worker.complete(second)).toMatchObject({ outcome: "accepted" });
    expect((await client.finished(jobId)).workflows[0]?.totals.counters["units"]).toBe(2);
  });

  it("refuse outcomes of other tokens, other shards and unknown jobs", async () => {
    const { worker, client } = await setUp();
    const { jobId } = await client.submit([{ name: "a", shards: 2 }]);
    const [first] = await worker.claimAll(2);
    if (first === undefined) return;
    const wrong = await worker.report([
      completed(first, { token: String(BigInt(first.token) - 1n) }),
      completed(first, { token: String(BigInt(first.token) + 1n) }),
      completed(first, { shard: 1 - first.shard }),
      completed(first, { shard: 77 }),
      completed(first, { workflowId: "wf-other" }),
      completed(first, { jobId: "job-other" }),
    ]);
    expect(wrong.map(({ outcome }) => outcome)).toEqual(Array.from({ length: 6 }, () => "stale"));
    expect((await client.get(jobId)).workflows[0]?.shards.completed).toBe(0);
  });

  it("fail for good when they report what cannot be merged", async () => {
    const { worker, client } = await setUp();
    const { jobId } = await client.submit([{ name: "a" }]);
    const [only] = await worker.claimAll(1);
    if (only === undefined) return;
    const latency = { ...new Histogram().encode(), encoded: "garbage" };
    await worker.complete(only, { totals: { counters: {}, histograms: { latency } } });
    expect(await client.finished(jobId)).toMatchObject({
      status: "failed",
      workflows: [{ error: { code: "JOBS_INVALID_OUTCOME" } }],
    });
  });

  it("claimed for a worker that has gone go to the next one without counting", async () => {
    const { manager, worker, client } = await setUp();
    const lost = expect(worker.claim(1, 10_000)).rejects.toMatchObject({ code: "CONNECTION_LOST" });
    await cluster.advance(10);
    await cluster.run(worker.peer().close());
    await lost;
    const other = await cluster.worker(manager, "w2");
    await client.submit([{ name: "a" }]);
    expect(await other.claim(1, 100)).toMatchObject([{ attempt: 1 }]);
  });
});
