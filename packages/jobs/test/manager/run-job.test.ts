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
});
