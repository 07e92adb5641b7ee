import { afterEach, beforeEach, expect, it } from "vitest";
import { Cluster } from "./cluster.ts";

let cluster: Cluster;
beforeEach(() => {
  cluster = new Cluster();
});
afterEach(() => cluster.close());

it("outputs that a result has no room for are missed in it, in the job's errors and by what depends on them", async () => {
  const manager = await cluster.manager("m1");
  const worker = await cluster.worker(manager, "w1");
  const client = await cluster.client(manager);
  const { jobId } = await client.submit([
    { name: "parts", shards: 3 },
    { name: "sum", dependsOn: ["parts"] },
  ]);
  for (const assignment of await worker.claimAll(3)) {
    // The first two fit together.
    await worker.complete(assignment, { output: "x".repeat(200_000) });
  }
  const [sum] = await worker.claimAll(1);
  expect(sum?.dependencies["parts"]).toMatchObject({
    outputs: [expect.any(String), expect.any(String)],
    outputsOmitted: 1,
  });
  await worker.complete(sum as NonNullable<typeof sum>, { output: "done" });
  const { workflows, errors, status } = await client.finished(jobId);
  expect(status).toBe("completed");
  expect(workflows.map(({ outputsOmitted }) => outputsOmitted)).toEqual([1, undefined]);
  expect(errors).toEqual([expect.stringMatching(/^parts: the outputs of 1 shard are left out: .* 512 KiB/)]);
});
