import { cancelJob } from "@holdfast/protocol/contract";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { Cluster } from "./cluster.ts";
import { failed } from "./scripted-worker.ts";

describe("cancelling", () => {
  let cluster: Cluster;
  beforeEach(() => {
    cluster = new Cluster();
  });
  afterEach(() => cluster.close());

  const setUp = async () => {
    const manager = await cluster.manager("m1");
    const worker = await cluster.worker(manager, "w1");
    const client = await cluster.client(manager);
    const cancel = (jobId: string, change: object = {}) =>
      cluster.run(client.peer.request(cancelJob, { jobId, reason: "no longer needed", ...change }));
    return { manager, worker, client, cancel };
  };

  it("ends a job that nobody runs at once", async () => {
    const { worker, client, cancel } = await setUp();
    const { jobId } = await client.submit([
      { name: "a", shards: 3 },
      { name: "b", dependsOn: ["a"] },
    ]);
    await client.follow(jobId);
    expect(await cancel(jobId)).toMatchObject({
      outcome: "cancelled",
      cancelledWorkflows: 2,
      status: "cancelled",
    });
    const result = await client.finished(jobId);
    expect(result.status).toBe("cancelled");
    expect(result.workflows.map(({ status, error }) => [status, error?.code])).toEqual([
      ["cancelled", "JOBS_CANCELLED"],
      ["cancelled", "JOBS_CANCELLED"],
    ]);
    expect(await worker.claim(10, 300)).toEqual([]);
    await cluster.until(() => client.ended.has(jobId));
    expect(client.types().slice(-4)).toEqual([
      "job.status:cancelling",
      "workflow.result",
      "workflow.result",
      "job.result",
    ]);
  });

  it("waits until every worker has confirmed that it stopped", async () => {
    const { worker, client, cancel } = await setUp();
    const { jobId } = await client.submit([{ name: "a", shards: 2 }]);
    const held = await worker.claimAll(2);
    expect(await cancel(jobId)).toMatchObject({ outcome: "cancelling", status: "cancelling" });
    await cluster.until(() => worker.cancelled.length === 2);
    expect(await worker.report([failed(held[0] as (typeof held)[number])])).toMatchObject([
      { outcome: "stale" },
    ]);
    expect((await client.get(jobId)).status).toBe("cancelling");
    await worker.report([failed(held[1] as (typeof held)[number])]);
    const started = cluster.clock.monotonicNow();
    expect((await client.finished(jobId)).status).toBe("cancelled");
    expect(cluster.clock.monotonicNow() - started).toBeLessThan(1_000);
  });

  it("waits no longer for a silent worker than its lease", async () => {
    const { worker, client, cancel } = await setUp();
    const { jobId } = await client.submit([{ name: "a" }]);
    await worker.claimAll(1);
    await cancel(jobId);
    const started = cluster.clock.monotonicNow();
    expect((await client.finished(jobId)).status).toBe("cancelled");
    expect(cluster.clock.monotonicNow() - started).toBeLessThanOrEqual(5_200);
  });

  it("tells a worker that reports or renews to stop", async () => {
    const { worker, client, cancel } = await setUp();
    const { jobId } = await client.submit([{ name: "a" }]);
    const [held] = await worker.claimAll(1);
    if (held === undefined) return;
    await cancel(jobId);
    expect(await worker.progress([{ assignment: held }])).toMatchObject({ cancelled: [held.taskId] });
    expect(await worker.renew([held])).toEqual(["cancelled"]);
    await client.finished(jobId);
    expect(await worker.progress([{ assignment: held }])).toMatchObject({ cancelled: [held.taskId] });
  });

  it("that was never stored costs nothing: a worker that stopped on it gives the shard back, also one that calls it final", async () => {
    const { worker, client } = await setUp();
    const { jobId } = await client.submit([{ name: "a", shards: 2, maxAttempts: 1 }]);
    const held = await worker.claimAll(2);
    // Its leader said "cancelled" and lost the job before that was committed.
    const stopped = held.map((assignment) => ({
      ...failed(assignment, { retry: false }),
      error: { code: "JOBS_SHARD_CANCELLED", message: "was cancelled", retryable: false },
    }));
    expect(await worker.report(stopped)).toMatchObject([{ outcome: "accepted" }, { outcome: "accepted" }]);
    expect((await client.get(jobId)).status).toBe("running");
    for (const assignment of await worker.claimAll(2)) {
      expect(assignment.attempt).toBe(1);
      await worker.complete(assignment);
    }
    expect((await client.finished(jobId)).status).toBe("completed");
  });

  it("changes nothing when repeated, and never revives a job", async () => {
    const { worker, client, cancel } = await setUp();
    const { jobId } = await client.submit([{ name: "a" }]);
    const [held] = await worker.claimAll(1);
    await cancel(jobId);
    expect(await cancel(jobId)).toMatchObject({ outcome: "cancelling", cancelledWorkflows: 0 });
    if (held !== undefined) expect(await worker.complete(held)).toMatchObject({ outcome: "stale" });
    await client.finished(jobId);
    expect(await cancel(jobId)).toMatchObject({ outcome: "already-cancelled", status: "cancelled" });
    expect((await client.get(jobId)).status).toBe("cancelled");
  });

  it("says when the job was complete already, and when there is none", async () => {
    const { worker, client, cancel } = await setUp();
    const { jobId } = await client.submit([{ name: "a" }]);
    const [held] = await worker.claimAll(1);
    if (held !== undefined) await worker.complete(held);
    await client.finished(jobId);
    expect(await cancel(jobId)).toMatchObject({ outcome: "already-completed", status: "completed" });
    await expect(cancel("job-none")).rejects.toMatchObject({ code: "JOBS_NOT_FOUND", retryable: false });
  });

  it("is refused under an old fence", async () => {
    const { client, cancel } = await setUp();
    const { jobId } = await client.submit([{ name: "a" }]);
    await expect(cancel(jobId, { fence: "0" })).rejects.toMatchObject({ code: "JOBS_STALE_FENCE" });
    await expect(cancel(jobId, { fence: "9" })).rejects.toMatchObject({ code: "KERNEL_INVALID_INPUT" });
    expect(await cancel(jobId, { fence: "1" })).toMatchObject({ outcome: "cancelled" });
  });

  it("of one workflow takes those that depend on it along and lets the others finish", async () => {
    const { worker, client, cancel } = await setUp();
    const { jobId } = await client.submit([
      { name: "a" },
      { name: "b", dependsOn: ["a"] },
      { name: "c", dependsOn: ["b"] },
      { name: "d" },
    ]);
    const held = await worker.claimAll(2);
    const cancelled = await cancel(jobId, { workflowId: "wf-a" });
    expect(cancelled).toMatchObject({ outcome: "cancelled", cancelledWorkflows: 3, status: "queued" });
    const d = held.find(({ name }) => name === "d");
    if (d !== undefined) expect(await worker.complete(d)).toMatchObject({ outcome: "accepted" });
    const result = await client.finished(jobId);
    expect(result.workflows.map(({ status }) => status)).toEqual([
      "cancelled",
      "cancelled",
      "cancelled",
      "completed",
    ]);
    expect(result.status).toBe("cancelled");
    expect(await cancel(jobId, { workflowId: "wf-a" })).toMatchObject({ outcome: "already-cancelled" });
  });

  it("of one workflow alone lets those that depend on it run without its outputs", async () => {
    const { worker, client, cancel } = await setUp();
    const { jobId } = await client.submit([{ name: "a" }, { name: "b", dependsOn: ["a"] }]);
    await worker.claimAll(1);
    await cancel(jobId, { workflowId: "wf-a", dependents: false });
    const [b] = await worker.claimAll(1);
    expect(b).toMatchObject({ name: "b", dependencies: { a: { outputs: [], counters: {} } } });
  });

  it("names a workflow that the job does not have as not found", async () => {
    const { client, cancel } = await setUp();
    const { jobId } = await client.submit([{ name: "a" }]);
    expect(await cancel(jobId, { workflowId: "wf-zzz" })).toMatchObject({
      outcome: "not-found",
      status: "queued",
    });
  });
});

describe("a job's time", () => {
  let cluster: Cluster;
  beforeEach(() => {
    cluster = new Cluster();
  });
  afterEach(() => cluster.close());

  it("ends it as timeout, once, and stops what runs", async () => {
    const manager = await cluster.manager("m1");
    const worker = await cluster.worker(manager, "w1");
    const client = await cluster.client(manager);
    const started = cluster.clock.monotonicNow();
    const { jobId } = await client.submit([{ name: "a" }, { name: "b", dependsOn: ["a"] }], {
      timeoutMs: 3_000,
    });
    await client.follow(jobId);
    const [held] = await worker.claimAll(1);
    const result = await client.finished(jobId);
    expect(result).toMatchObject({ status: "timeout", errors: [expect.stringContaining("3000 ms")] });
    expect(result.workflows.map(({ error }) => error?.code)).toEqual(["JOBS_TIMEOUT", "JOBS_TIMEOUT"]);
    expect(cluster.clock.monotonicNow() - started).toBeLessThan(3_200);
    expect(worker.cancelled.map(({ taskId }) => taskId)).toEqual([held?.taskId]);
    if (held !== undefined) expect(await worker.complete(held)).toMatchObject({ outcome: "stale" });
    await cluster.until(() => client.ended.has(jobId));
    expect(client.events.filter(({ type }) => type === "job.result")).toHaveLength(1);
  });

  it("counts from its submission, also under another manager", async () => {
    const manager = await cluster.manager("m1");
    await cluster.worker(manager, "w1");
    const client = await cluster.client(manager);
    const started = cluster.clock.monotonicNow();
    const { jobId } = await client.submit([{ name: "a" }], { timeoutMs: 20_000 });
    await cluster.run(manager.kill());
    const second = await cluster.manager("m2");
    const other = await cluster.client(second);
    expect((await other.finished(jobId)).status).toBe("timeout");
    const tookMs = cluster.clock.monotonicNow() - started;
    expect(tookMs).toBeGreaterThanOrEqual(20_000);
    expect(tookMs).toBeLessThan(20_500);
  });
});
