import { listJobs } from "@holdfast/protocol/contract";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { Cluster } from "./cluster.ts";

describe("a manager alone", () => {
  let cluster: Cluster;
  beforeEach(() => {
    cluster = new Cluster();
  });
  afterEach(() => cluster.close());

  it("runs a job of one shard from submission to result, with one transaction each for its beginning and end", async () => {
    const manager = await cluster.manager("m1");
    const worker = await cluster.worker(manager, "w1");
    const client = await cluster.client(manager);
    const before = manager.stats().commits.batches;
    const submitted = await client.submit([{ name: "a", input: { x: 1 } }]);
    expect(submitted).toMatchObject({
      status: "queued",
      duplicate: false,
      leader: { nodeId: "m1", fence: "1" },
    });
    await client.follow(submitted.jobId);
    const [assignment] = await worker.claim();
    expect(assignment).toMatchObject({
      jobId: submitted.jobId,
      workflowId: "wf-a",
      workflow: "noop",
      shard: 0,
      shardCount: 1,
      attempt: 1,
      input: { x: 1 },
      leader: { nodeId: "m1" },
    });
    if (assignment === undefined) return;
    expect(await worker.complete(assignment)).toMatchObject({ outcome: "accepted" });
    expect(manager.stats().commits.batches - before).toBe(2);
    const result = await client.finished(submitted.jobId);
    expect(result).toMatchObject({
      status: "completed",
      workflows: [{ status: "completed", outputs: [{ shard: 0 }] }],
    });
    await cluster.until(() => client.ended.has(submitted.jobId));
    expect(client.types()).toEqual([
      "job.leader",
      "job.status:queued",
      "workflow.status:assigned",
      "workflow.result",
      "job.result",
    ]);
  });

  it("tells the whole story of an ended job to whoever follows it from the position of any submission", async () => {
    const manager = await cluster.manager("m1");
    const worker = await cluster.worker(manager, "w1");
    const client = await cluster.client(manager);
    const first = await client.submit([{ name: "a" }], { jobId: "job-1" });
    const [assignment] = await worker.claim();
    if (assignment !== undefined) await worker.complete(assignment);
    await client.finished("job-1");
    const again = await client.submit([{ name: "a" }], { jobId: "job-1" });
    expect(again).toMatchObject({ duplicate: true, status: "completed" });
    for (const position of [first.position, again.position, undefined]) {
      const other = await cluster.client(manager);
      expect(await other.follow("job-1", position)).toMatchObject({ status: "completed" });
      await cluster.until(() => other.ended.has("job-1"));
      expect(other.types()).toEqual([
        "job.leader",
        "job.status:queued",
        "workflow.status:assigned",
        "workflow.result",
        "job.result",
      ]);
    }
  });

  it("answers for an ended job of a manager that is gone", async () => {
    const gone = await cluster.manager("m1");
    const worker = await cluster.worker(gone, "w1");
    const client = await cluster.client(gone);
    const { jobId } = await client.submit([{ name: "a" }], { jobId: "job-1" });
    const [assignment] = await worker.claim();
    if (assignment !== undefined) await worker.complete(assignment);
    await client.finished(jobId);
    await cluster.run(gone.kill());
    const manager = await cluster.manager("m2");
    await worker.attach(manager);
    await cluster.until(() => manager.isLeader);
    const other = await cluster.client(manager);
    const again = await other.submit([{ name: "a" }], { jobId: "job-1" });
    expect(again).toMatchObject({
      duplicate: true,
      status: "completed",
      leader: { nodeId: "m2", fence: "1" },
    });
    expect(await other.follow(jobId)).toMatchObject({ leader: { nodeId: "m2", address: manager.address } });
    expect(await other.get(jobId)).toMatchObject({
      status: "completed",
      workflows: [{ totals: { counters: { units: 1 } } }],
    });
    await cluster.until(() => other.ended.has(jobId));
  });

  it("lists jobs newest first with how far they are, page by page", async () => {
    const manager = await cluster.manager("m1");
    const worker = await cluster.worker(manager, "w1");
    const client = await cluster.client(manager);
    for (const name of ["first", "second", "third"]) {
      await client.submit([{ name: "a" }], { name, labels: { team: "red" } });
      await cluster.advance(10);
    }
    const [done, running] = await worker.claimAll(2);
    if (done === undefined || running === undefined) return;
    await worker.complete(done);
    await worker.progress([{ assignment: running, progress: { done: 3, total: 7 } }]);
    const list = (input: object) => cluster.run(client.peer.request(listJobs, input));
    const page = await list({ limit: 2 });
    expect(page.jobs).toMatchObject([
      { name: "third", status: "queued", progress: { done: 0, total: 0 } },
      { name: "second", progress: { done: 3, total: 7 }, datacenters: ["east"], labels: { team: "red" } },
    ]);
    const rest = await list({ limit: 2, cursor: page.nextCursor });
    expect(rest).toEqual({
      jobs: [
        expect.objectContaining({ name: "first", status: "completed", progress: { done: 1, total: 1 } }),
      ],
    });
    expect((await list({ search: "SECOND" })).jobs).toHaveLength(1);
    expect((await list({ statuses: ["completed"] })).jobs).toHaveLength(1);
  });
});
