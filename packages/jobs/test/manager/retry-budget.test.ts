import type { Assignment } from "@holdfast/protocol/contract";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { Cluster } from "./cluster.ts";
import { failed, type ScriptedWorker } from "./scripted-worker.ts";

describe("a retry budget", () => {
  let cluster: Cluster;
  beforeEach(() => {
    cluster = new Cluster();
  });
  afterEach(() => cluster.close());

  const setUp = async () => {
    const manager = await cluster.manager("m1");
    const worker = await cluster.worker(manager, "w1", { noop: { maxAttempts: 20 } });
    const client = await cluster.client(manager);
    return { manager, worker, client };
  };

  /** Fails whatever comes until nothing comes any more; returns how many attempts there were. */
  const failAll = async (worker: ScriptedWorker): Promise<number> => {
    let count = 0;
    for (;;) {
      const claimed = await worker.claim(10, 3_000);
      if (claimed.length === 0) return count;
      count += claimed.length;
      await worker.report(claimed.map((assignment) => failed(assignment)));
    }
  };

  it("of a workflow ends it when it is used up, long before the attempts of its shards are", async () => {
    const { worker, client } = await setUp();
    const { jobId } = await client.submit([{ name: "a", retryBudget: 3 }]);
    expect(await failAll(worker)).toBe(4);
    expect(await client.finished(jobId)).toMatchObject({
      status: "failed",
      errors: [expect.stringContaining("no retry is left in the budget"), expect.stringContaining("boom")],
      workflows: [{ error: { code: "TEST_BOOM" } }],
    });
  });

  it("of none lets no shard be tried again, and without one the attempts alone bound them", async () => {
    const { worker, client } = await setUp();
    const strict = await client.submit([{ name: "a", retryBudget: 0 }]);
    expect(await failAll(worker)).toBe(1);
    expect((await client.finished(strict.jobId)).status).toBe("failed");
    await client.submit([{ name: "a", maxAttempts: 7 }]);
    expect(await failAll(worker)).toBe(7);
  });

  it("is one for all shards together, also for those that fail at the same moment", async () => {
    const { worker, client } = await setUp();
    const { jobId } = await client.submit([{ name: "a", shards: 8, retryBudget: 5 }], {
      policy: "allow-partial",
    });
    const all = await worker.claimAll(8);
    const first = await worker.report(all.map((assignment) => failed(assignment)));
    expect(first.map(({ outcome }) => outcome)).toContain("accepted");
    await client.follow(jobId);
    await client.finished(jobId);
    await cluster.until(() => client.ended.has(jobId));
    // Five were to be tried again; the sixth had none left and ended the workflow.
    const attempts = client.events.filter((event) => event.type === "shard.retry");
    expect(attempts.length).toBe(6);
  });

  it("of a job is shared by its workflows, beside their own", async () => {
    const { worker, client } = await setUp();
    const { jobId } = await client.submit([{ name: "a", retryBudget: 2 }, { name: "b" }, { name: "c" }], {
      retryBudget: 4,
      policy: "allow-partial",
    });
    // Each has its first attempt, and four more are shared.
    expect(await failAll(worker)).toBe(7);
    expect((await client.finished(jobId)).workflows.map(({ status }) => status)).toEqual([
      "failed",
      "failed",
      "failed",
    ]);
  });

  it("is not used by claims that lapse or are given back, and is remembered by the next leader", async () => {
    const { manager, worker, client } = await setUp();
    const { jobId } = await client.submit([{ name: "a", retryBudget: 2 }]);
    const [lost] = await worker.claimAll(1);
    const [again] = await worker.claim(1, 20_000);
    expect(again).toMatchObject({ taskId: lost?.taskId, attempt: 2 });
    await worker.fail(again as Assignment, { uncounted: true });
    const [third] = await worker.claimAll(1);
    await worker.fail(third as Assignment);
    await cluster.run(manager.kill());
    const next = await cluster.manager("m2");
    const other = await cluster.worker(next, "w2", { noop: { maxAttempts: 20 } });
    const later = await cluster.client(next);
    await cluster.until(() => next.stats().leadingJobs === 1);
    // One retry is left: two attempts.
    expect(await failAll(other)).toBe(2);
    expect((await later.finished(jobId)).status).toBe("failed");
  });
});
