import type { Assignment } from "@holdfast/protocol/contract";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { Cluster } from "./cluster.ts";
import { completed, failed, type Outcome } from "./scripted-worker.ts";

/** What the wire carries and no store keeps, and what is said about it. */
const UNSTORABLE: readonly (readonly [unknown, string])[] = [
  [{ rows: [{ id: 1n }] }, ".rows[0].id must be plain JSON, not a bigint"],
  [{ list: [1, undefined] }, ".list[1] must be plain JSON, not undefined"],
  [{ mean: Number.NaN }, ".mean must be plain JSON, not NaN"],
  [{ max: Number.POSITIVE_INFINITY }, ".max must be plain JSON, not Infinity"],
  [{ image: Buffer.from("png") }, ".image must be plain JSON, not an instance of Buffer"],
  // The report can carry it, but no event, and no assignment of a workflow that depends on it.
  [JSON.parse(`${'{"in":'.repeat(101)}1${"}".repeat(101)}`), " must be nested at most 100 levels deep"],
];

describe("a worker that reports what no store keeps", () => {
  let cluster: Cluster;
  beforeEach(() => {
    cluster = new Cluster();
  });
  afterEach(() => cluster.close());

  /** A job of one shard for each of the reports, and one more; all of them are with one worker. */
  const setUp = async () => {
    const manager = await cluster.manager("m1");
    const worker = await cluster.worker(manager, "w1");
    const client = await cluster.client(manager);
    const jobIds: string[] = [];
    for (let index = 0; index <= UNSTORABLE.length; index += 1) {
      jobIds.push((await client.submit([{ name: "a" }])).jobId);
    }
    const claimed = await worker.claimAll(jobIds.length);
    const held = jobIds.map((jobId) => claimed.find((one) => one.jobId === jobId) as Assignment);
    const reportAll = async (outcomeOf: (assignment: Assignment, value: unknown) => Outcome) => {
      const last = held.at(-1) as Assignment;
      return worker.report([
        ...UNSTORABLE.map(([value], index) => outcomeOf(held[index] as Assignment, value)),
        completed(last),
      ]);
    };
    return { manager, worker, client, jobIds, reportAll };
  };

  it("fails those shards alone, with path and kind, in the one commit that takes the others", async () => {
    const { manager, client, jobIds, reportAll } = await setUp();
    const before = manager.stats().commits;
    const answers = await reportAll((assignment, output) => completed(assignment, { output }));
    expect(answers.map(({ outcome }) => outcome)).toEqual(jobIds.map(() => "accepted"));
    const { batches, failures } = manager.stats().commits;
    expect([batches - before.batches, failures]).toEqual([1, 0]);
    for (const [index, [, why]] of UNSTORABLE.entries()) {
      expect(await client.finished(jobIds[index] as string)).toMatchObject({
        status: "failed",
        workflows: [
          { error: { code: "JOBS_INVALID_OUTCOME", message: expect.stringContaining(`its output${why}`) } },
        ],
      });
    }
    expect(await client.finished(jobIds.at(-1) as string)).toMatchObject({ status: "completed" });
  });

  it("has its failures counted, without the details", async () => {
    const { manager, client, jobIds, reportAll } = await setUp();
    const before = manager.stats().commits;
    const answers = await reportAll((assignment, details) => ({
      ...failed(assignment, { retry: false }),
      error: { code: "TEST_BOOM", message: "boom", retryable: true, details: details as object as never },
    }));
    expect(answers.map(({ outcome }) => outcome)).toEqual(jobIds.map(() => "accepted"));
    const { batches, failures } = manager.stats().commits;
    expect([batches - before.batches, failures]).toEqual([1, 0]);
    for (const [index, [, why]] of UNSTORABLE.entries()) {
      const leftOut = expect.stringContaining(`details${why}`);
      expect(await client.finished(jobIds[index] as string)).toMatchObject({
        status: "failed",
        workflows: [{ error: { code: "TEST_BOOM", message: "boom", details: { leftOut } } }],
      });
    }
  });

  it("has a failure counted whose details no log entry has room for, and one whose details are short kept whole", async () => {
    const { manager, client, jobIds, reportAll } = await setUp();
    let count = 0;
    const answers = await reportAll((assignment) => {
      count += 1;
      const details = { text: (count === 1 ? "x" : "é").repeat(count === 1 ? 1024 * 1024 : 5_000) };
      return {
        ...failed(assignment, { retry: false }),
        error: { code: "TEST_BOOM", message: "", retryable: true, details },
      };
    });
    expect(answers.map(({ outcome }) => outcome)).toEqual(jobIds.map(() => "accepted"));
    expect(manager.stats().commits.failures).toBe(0);
    const errors = await Promise.all(
      jobIds.slice(0, 2).map(async (jobId) => (await client.finished(jobId)).workflows[0]?.error),
    );
    expect(errors).toMatchObject([
      { details: { leftOut: "details have 1048587 bytes, the limit is 16384" } },
      { details: { text: "é".repeat(5_000) } },
    ]);
  });

  it("can hand on what is nested as deep as it may, and its watchers get it", async () => {
    const { worker, client } = await setUp();
    const deepest = JSON.parse(`${"[".repeat(100)}${"]".repeat(100)}`);
    const { jobId } = await client.submit([{ name: "a" }, { name: "b", dependsOn: ["a"] }]);
    await client.follow(jobId);
    const [first] = await worker.claimAll(1);
    if (first !== undefined) await worker.complete(first, { output: deepest });
    const [second] = await worker.claimAll(1);
    expect(second?.dependencies["a"]?.outputs).toEqual([deepest]);
    if (second !== undefined) await worker.complete(second, { output: deepest });
    await cluster.until(() => client.ended.has(jobId));
    expect(client.events.at(-1)).toMatchObject({ result: { workflows: [{ outputs: [deepest] }, {}] } });
  });

  it("is told that a claim whose token no store could have granted is stale", async () => {
    const { manager, worker, client } = await setUp();
    const { jobId } = await client.submit([{ name: "a" }]);
    const [only] = await worker.claimAll(1);
    if (only === undefined) throw new Error("a shard was expected");
    const before = manager.stats().commits.batches;
    const answer = await worker.complete(only, { token: `${2n ** 63n}` });
    expect(answer).toMatchObject({ outcome: "stale" });
    expect(manager.stats().commits.batches).toBe(before);
    expect((await client.get(jobId)).workflows[0]?.shards.completed).toBe(0);
  });
});
