import { cancelJob } from "@holdfast/protocol/contract";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { settle } from "../settle.ts";
import { Cluster } from "./cluster.ts";

/** Numbers that a float cannot tell apart. */
const LARGE = 2n ** 53n;

describe("fences of gates", () => {
  let cluster: Cluster;
  beforeEach(() => {
    cluster = new Cluster();
  });
  afterEach(() => cluster.close());

  const setUp = async () => {
    const manager = await cluster.manager("m1");
    await cluster.worker(manager, "w1");
    const client = await cluster.client(manager);
    const submit = (jobId: string, fence: bigint | undefined, nodeId = "g1") =>
      client.submit([{ name: "a" }], {
        jobId,
        ...(fence === undefined ? {} : { gate: { nodeId, address: `${nodeId}:1`, fence: `${fence}` } }),
      });
    return { manager, client, submit };
  };

  it("are any at first and then never smaller: a larger one is taken, the same again is a repeat", async () => {
    const { submit } = await setUp();
    await submit("job-1", 0n);
    expect(await submit("job-1", 5n)).toMatchObject({ duplicate: true });
    expect(await submit("job-1", 5n)).toMatchObject({ duplicate: true });
    await expect(submit("job-1", 4n)).rejects.toMatchObject({ code: "JOBS_STALE_FENCE" });
    // Who names none is no gate: it asks for what is there.
    expect(await submit("job-1", undefined)).toMatchObject({ duplicate: true });
    await submit("job-2", undefined);
    await submit("job-2", 1n);
    await expect(submit("job-2", 0n)).rejects.toMatchObject({ code: "JOBS_STALE_FENCE" });
  });

  it("beyond 2^53 are compared exactly", async () => {
    const { submit } = await setUp();
    expect(Number(LARGE + 1n)).toBe(Number(LARGE));
    await submit("job-1", LARGE + 1n);
    await expect(submit("job-1", LARGE)).rejects.toMatchObject({
      code: "JOBS_STALE_FENCE",
      message: expect.stringContaining(`${LARGE + 1n}`),
    });
    expect(await submit("job-1", LARGE + 2n)).toMatchObject({ duplicate: true });
    await expect(submit("job-1", LARGE + 1n)).rejects.toMatchObject({ code: "JOBS_STALE_FENCE" });
    // The largest that a message can carry.
    expect(await submit("job-1", 9_223_372_036_854_775_807n)).toMatchObject({ duplicate: true });
    await expect(submit("job-1", 9_223_372_036_854_775_806n)).rejects.toMatchObject({
      code: "JOBS_STALE_FENCE",
    });
  });

  it("of one job, or of another datacenter, say nothing about those of another", async () => {
    const { submit } = await setUp();
    await submit("job-1", LARGE + 1n);
    await submit("job-2", 1n);
    await expect(submit("job-1", LARGE)).rejects.toMatchObject({ code: "JOBS_STALE_FENCE" });
    expect(await submit("job-2", 2n)).toMatchObject({ duplicate: true });
    // Another datacenter has a store of its own.
    const other = new Cluster();
    try {
      const manager = await other.manager("m1");
      await other.worker(manager, "w1");
      const client = await other.client(manager);
      const gate = { nodeId: "g1", address: "g1:1", fence: "1" };
      expect(await client.submit([{ name: "a" }], { jobId: "job-1", gate })).toMatchObject({
        duplicate: false,
      });
    } finally {
      await other.close();
    }
  });

  it("that come ten at once end at the largest, whatever their order", async () => {
    const { submit, client } = await setUp();
    await submit("job-1", LARGE);
    const fences = [3, 9, 1, 7, 10, 2, 8, 5, 4, 6].map((more) => LARGE + BigInt(more));
    const all = Promise.allSettled(fences.map((fence) => submit("job-1", fence)));
    if (cluster.virtual !== undefined) await settle(cluster.virtual, all);
    expect((await all).filter(({ status }) => status === "fulfilled").length).toBeGreaterThan(0);
    expect(await submit("job-1", LARGE + 10n)).toMatchObject({ duplicate: true });
    await expect(submit("job-1", LARGE + 9n)).rejects.toMatchObject({ code: "JOBS_STALE_FENCE" });
    expect((await client.get("job-1")).status).not.toBe("failed");
  });
});

it("ten cancels at once at a manager cancel each workflow once", async () => {
  const cluster = new Cluster();
  try {
    const manager = await cluster.manager("m1");
    const worker = await cluster.worker(manager, "w1");
    const client = await cluster.client(manager);
    const { jobId } = await client.submit([{ name: "a", shards: 2 }, { name: "b" }]);
    await worker.claimAll(3);
    const cancels = Array.from({ length: 10 }, () => client.peer.request(cancelJob, { jobId }));
    const answers = await cluster.run(Promise.all(cancels));
    expect(answers.map(({ outcome }) => outcome)).toEqual(Array.from({ length: 10 }, () => "cancelling"));
    expect(answers.reduce((sum, { cancelledWorkflows }) => sum + cancelledWorkflows, 0)).toBe(2);
    expect((await client.finished(jobId)).status).toBe("cancelled");
  } finally {
    await cluster.close();
  }
});
