import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { Cluster } from "./cluster.ts";

const LARGE_COUNT = 24;
const LARGE_OUTPUT = "x".repeat(450_000);

describe("assignments that are large", () => {
  let cluster: Cluster;
  beforeEach(() => {
    cluster = new Cluster();
  });
  afterEach(() => cluster.close());

  const setUp = async () => {
    const manager = await cluster.manager("m1");
    const worker = await cluster.worker(manager, "w1");
    const client = await cluster.client(manager);
    return { worker, client };
  };

  it("because of what their workflow depends on fail it before it starts, with the bytes, the limit and advice", async () => {
    const { worker, client } = await setUp();
    const names = Array.from({ length: LARGE_COUNT }, (_, index) => `part-${index}`);
    const { jobId } = await client.submit(
      [
        ...names.map((name) => ({ name })),
        { name: "sum", dependsOn: names },
        { name: "publish", dependsOn: ["sum"] },
        { name: "small", dependsOn: ["part-0"] },
      ],
      { policy: "allow-partial" },
    );
    await client.follow(jobId);
    for (let endedCount = 0; endedCount < LARGE_COUNT + 1; ) {
      for (const assignment of await worker.claim()) {
        await worker.complete(assignment, { output: LARGE_OUTPUT });
        endedCount += 1;
      }
    }
    const { status, workflows } = await client.finished(jobId);
    expect(status).toBe("partial");
    const byName = new Map(workflows.map((workflow) => [workflow.name, workflow]));
    expect(byName.get("sum")).toMatchObject({
      status: "failed",
      error: {
        code: "JOBS_DEPENDENCIES_TOO_LARGE",
        retryable: false,
        message: expect.stringMatching(/workflow sum .* 108\d{5} bytes .* 7864320: .*return a reference/),
        details: { workflow: "sum", limitBytes: 7_864_320 },
      },
    });
    expect(byName.get("publish")).toMatchObject({
      status: "failed",
      error: { code: "JOBS_DEPENDENCY_FAILED", details: { failed: "sum" } },
    });
    expect(byName.get("small")).toMatchObject({ status: "completed" });
    await cluster.until(() => client.ended.has(jobId));
    expect(client.types()).not.toContain("shard.retry");
  });

  it("come in as many answers as they need, whatever their characters take", async () => {
    const { worker, client } = await setUp();
    // 3 MB each, of a million characters.
    await client.submit([{ name: "a", shards: 6, input: { text: "日".repeat(1_000_000) } }]);
    const assignments = await worker.claimAll(6);
    expect(new Set(assignments.map(({ shard }) => shard)).size).toBe(6);
    expect(assignments.map(({ attempt }) => attempt)).toEqual([1, 1, 1, 1, 1, 1]);
  });
});
