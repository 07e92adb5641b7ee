import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { Cluster } from "./cluster.ts";

describe("submitting to a manager", () => {
  let cluster: Cluster;
  beforeEach(() => {
    cluster = new Cluster();
  });
  afterEach(() => cluster.close());

  it("stores a job once, however often it is submitted", async () => {
    const manager = await cluster.manager("m1");
    await cluster.worker(manager, "w1");
    const client = await cluster.client(manager);
    const first = await client.submit([{ name: "a" }], { jobId: "job-1" });
    const again = await client.submit([{ name: "a" }], { jobId: "job-1" });
    expect(first.duplicate).toBe(false);
    expect(again).toMatchObject({ jobId: "job-1", duplicate: true, leader: first.leader });
    expect(manager.stats()).toMatchObject({ submittedJobs: 1, leadingJobs: 1 });
  });

  it("stores one of two submissions that arrive together", async () => {
    const manager = await cluster.manager("m1");
    await cluster.worker(manager, "w1");
    const client = await cluster.client(manager);
    const both = await cluster.run(
      Promise.all([1, 2].map(() => client.submit([{ name: "a" }], { jobId: "job-1" }))),
    );
    expect(both.map(({ duplicate }) => duplicate).sort()).toEqual([false, true]);
  });

  it("answers a key that was used with the job that used it, and refuses it for another payload", async () => {
    const manager = await cluster.manager("m1");
    await cluster.worker(manager, "w1");
    const client = await cluster.client(manager);
    await client.submit([{ name: "a" }], { jobId: "job-1", idempotencyKey: "k" });
    const same = await client.submit([{ name: "a" }], { jobId: "job-2", idempotencyKey: "k" });
    expect(same).toMatchObject({ jobId: "job-1", duplicate: true });
    await expect(
      client.submit([{ name: "b" }], { jobId: "job-3", idempotencyKey: "k" }),
    ).rejects.toMatchObject({
      code: "JOBS_IDEMPOTENCY_CONFLICT",
      retryable: false,
    });
  });

  it.each<[string, unknown, string]>([
    ["a big integer", { ids: [1n, 2n ** 60n] }, "spec.workflows[1].input.ids"],
    ["NaN", { rate: Number.NaN }, "spec.workflows[1].input.rate"],
    ["an infinity", [Number.POSITIVE_INFINITY], "spec.workflows[1].input[0]"],
  ])("refuses an input with %s by its path and stores nothing", async (_, input, path) => {
    const manager = await cluster.manager("m1");
    await cluster.worker(manager, "w1");
    const client = await cluster.client(manager);
    const workflows = [{ name: "a" }, { name: "b", input }];
    for (const dryRun of [true, false]) {
      await expect(client.submit(workflows, { jobId: "job-1", dryRun })).rejects.toMatchObject({
        code: "KERNEL_INVALID_INPUT",
        retryable: false,
        details: { field: expect.stringContaining(path) },
      });
    }
    expect(manager.stats()).toMatchObject({ submittedJobs: 0, leadingJobs: 0 });
    expect(await client.submit([{ name: "a" }], { jobId: "job-1" })).toMatchObject({ duplicate: false });
  });

  it("accepts a repeated submission although no worker is left to check it", async () => {
    const manager = await cluster.manager("m1");
    const worker = await cluster.worker(manager, "w1");
    const client = await cluster.client(manager);
    await client.submit([{ name: "a" }], { jobId: "job-1" });
    await cluster.run(worker.peer().close());
    await cluster.until(() => manager.stats().workers === 0);
    expect(await client.submit([{ name: "a" }], { jobId: "job-1" })).toMatchObject({ duplicate: true });
  });

  it("asks to come back while no worker is connected", async () => {
    const manager = await cluster.manager("m1");
    const client = await cluster.client(manager);
    await expect(client.submit([{ name: "a" }])).rejects.toMatchObject({
      code: "JOBS_NOT_READY",
      retryable: true,
      retryAfterMs: 500,
    });
  });

  it("refuses a workflow that no worker offers, naming those that exist", async () => {
    const manager = await cluster.manager("m1");
    await cluster.worker(manager, "w1");
    const client = await cluster.client(manager);
    await expect(client.submit([{ name: "a", workflow: "other" }])).rejects.toMatchObject({
      code: "JOBS_UNKNOWN_WORKFLOW",
      retryable: false,
      details: { workflow: "other", known: ["noop"] },
    });
  });

  it("refuses input that fails the worker's schema, and stores nothing", async () => {
    const manager = await cluster.manager("m1");
    const issues = [{ path: "batch.size", message: "expected number", value: "x" }];
    await cluster.worker(manager, "w1", { noop: { outcome: "invalid", issues } });
    const client = await cluster.client(manager);
    await expect(client.submit([{ name: "a" }])).rejects.toMatchObject({
      code: "JOBS_INVALID_INPUT",
      details: { workflow: "noop", issues },
    });
    expect(await cluster.run(cluster.store.jobs.counts())).toEqual({});
  });

  it.each([
    [
      "a cycle",
      [
        { name: "a", dependsOn: ["c"] },
        { name: "b", dependsOn: ["a"] },
        { name: "c", dependsOn: ["b"] },
      ],
      /free of cycles.*a -> c -> b -> a/,
    ],
    ["a dependency on itself", [{ name: "a", dependsOn: ["a"] }], /free of cycles.*a -> a/],
    ["an unknown dependency", [{ name: "a", dependsOn: ["z"] }], /workflows\[0\]\.dependsOn\[0\]/],
    ["a name used twice", [{ name: "a" }, { name: "a", id: "wf-other" }], /unique within the job/],
    ["an id used twice", [{ name: "a" }, { name: "b", id: "wf-a" }], /unique within the job/],
    ["a NUL in the name of the job", [{ name: "a" }], /NUL/],
  ] as const)("refuses %s", async (what, workflows, message) => {
    const manager = await cluster.manager("m1");
    await cluster.worker(manager, "w1");
    const client = await cluster.client(manager);
    const name = what.includes("NUL") ? "bad\0name" : "good name";
    const submitted = client.submit(
      workflows.map((workflow) => ({
        ...workflow,
        dependsOn: "dependsOn" in workflow ? [...workflow.dependsOn] : [],
      })),
      { name },
    );
    await expect(submitted).rejects.toMatchObject({
      code: "KERNEL_INVALID_INPUT",
      message: expect.stringMatching(message),
    });
  });

  it("adds what the definition depends on, with the same input and before it", async () => {
    const manager = await cluster.manager("m1");
    const worker = await cluster.worker(manager, "w1", { load: {}, count: { dependsOn: ["load"] } });
    const client = await cluster.client(manager);
    const { jobId } = await client.submit([{ name: "total", workflow: "count", input: { file: "x" } }]);
    const view = await client.get(jobId);
    expect(view.workflows).toMatchObject([
      { name: "total", dependsOn: ["load"], status: "pending" },
      { name: "load", workflow: "load", status: "assigned" },
    ]);
    const [first] = await worker.claimAll(1);
    expect(first).toMatchObject({ workflow: "load", input: { file: "x" } });
  });

  it("asks a worker once about the same input", async () => {
    const manager = await cluster.manager("m1");
    const worker = await cluster.worker(manager, "w1");
    const client = await cluster.client(manager);
    for (const x of [1, 1, 2, 1]) await client.submit([{ name: "a", input: { x } }]);
    expect(worker.validations).toBe(2);
    // A worker that comes may define the workflow differently.
    await cluster.worker(manager, "w2", { noop: {}, other: {} });
    await client.submit([{ name: "a", input: { x: 1 } }]);
    await cluster.advance(31_000);
    expect(worker.validations).toBeGreaterThanOrEqual(2);
  });

  it("checks a dry run and stores nothing", async () => {
    const manager = await cluster.manager("m1");
    await cluster.worker(manager, "w1");
    const client = await cluster.client(manager);
    expect(await client.submit([{ name: "a" }], { dryRun: true })).toMatchObject({ status: "submitted" });
    await expect(client.submit([{ name: "a", workflow: "no" }], { dryRun: true })).rejects.toMatchObject({
      code: "JOBS_UNKNOWN_WORKFLOW",
    });
    expect(await cluster.run(cluster.store.jobs.counts())).toEqual({});
  });

  it("sends new jobs to the datacenter's leader", async () => {
    const leader = await cluster.manager("m1");
    const follower = await cluster.manager("m2");
    expect([leader.isLeader, follower.isLeader]).toEqual([true, false]);
    await cluster.worker(follower, "w1");
    const client = await cluster.client(follower);
    await expect(client.submit([{ name: "a" }])).rejects.toMatchObject({
      code: "JOBS_NOT_LEADER",
      retryable: true,
      details: { leader: { nodeId: "m1", address: leader.address } },
    });
  });

  it("refuses a gate whose fence is older than the one it knows", async () => {
    const manager = await cluster.manager("m1");
    await cluster.worker(manager, "w1");
    const client = await cluster.client(manager);
    const gate = (fence: string) => ({ nodeId: "g", address: "g:1", fence });
    const submit = (fence: string) => client.submit([{ name: "a" }], { jobId: "job-1", gate: gate(fence) });
    await submit("5");
    expect(await submit("5")).toMatchObject({ duplicate: true });
    expect(await submit("7")).toMatchObject({ duplicate: true });
    await expect(submit("6")).rejects.toMatchObject({ code: "JOBS_STALE_FENCE", retryable: false });
  });

  it("keeps jobs in the line for commits from failing each other", async () => {
    const manager = await cluster.manager("m1");
    await cluster.worker(manager, "w1");
    const client = await cluster.client(manager);
    const ids = Array.from({ length: 60 }, (_, index) => `job-${index}`);
    const before = manager.stats().commits.batches;
    const answers = await cluster.run(
      Promise.all(ids.map((jobId) => client.submit([{ name: "a" }], { jobId }))),
    );
    expect(answers.every(({ duplicate }) => !duplicate)).toBe(true);
    expect(manager.stats().commits.batches - before).toBeLessThan(20);
    expect(await cluster.run(cluster.store.jobs.counts())).toEqual({ queued: 60 });
  });
});
