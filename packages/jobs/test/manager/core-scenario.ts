import { systemClock } from "@holdfast/kernel";
import { expect } from "vitest";
import type { JobStore } from "../../src/model/job-table.ts";
import { Cluster } from "./cluster.ts";

/** Short enough for a test on a real clock, long enough for a busy machine. */
const FAST = { nodeLeaseMs: 5_000, taskLeaseMs: 5_000, sweepEveryMs: 100, windowMs: 100, windowDriftMs: 50 };

/**
 * The life of a job that meets everything at once, on a real clock and a given store: two managers, shards of
 * two workflows, a failed attempt, a lapsed claim, live figures, a killed leader, a cancel, and the deletion
 * of what has ended.
 */
export const runCoreScenario = async (store: JobStore): Promise<void> => {
  const cluster = new Cluster({ clock: systemClock, store: () => store });
  try {
    const first = await cluster.manager("m1", FAST);
    const second = await cluster.manager("m2", { ...FAST, retention: { keepMs: 0, sweepEveryMs: 200 } });
    const worker = await cluster.worker(first, "w1");
    await worker.attach(second);
    const client = await cluster.client(first);
    const { jobId } = await client.submit([
      { name: "load", shards: 3, maxAttempts: 3 },
      { name: "sum", dependsOn: ["load"], input: { text: 'käse "quoted" \\ 日本 \u0000' } },
    ]);
    await client.follow(jobId);
    const [one, two, three] = await worker.claimAll(3, first);
    if (one === undefined || two === undefined || three === undefined) throw new Error("shards are missing");
    await worker.progress([{ assignment: one, counters: { rows: 4 }, progress: { done: 4, total: 9 } }], {
      manager: first,
    });
    expect(await worker.complete(one, { output: "one \u0000" }, first)).toMatchObject({
      outcome: "accepted",
    });
    expect(await worker.complete(one, { output: "again" }, first)).toMatchObject({ outcome: "accepted" });
    expect(await worker.fail(two, {}, first)).toMatchObject({ outcome: "accepted" });
    await cluster.until(() => client.types().includes("window"));
    await cluster.run(first.kill());
    // The third claim is not renewed: it lapses and comes back under a new token.
    const other = await cluster.client(second);
    await cluster.until(() => second.stats().leadingJobs === 1 && second.isLeader);
    const again = await worker.claimAll(2, second);
    expect(again.map(({ shard }) => shard).sort()).toEqual([two.shard, three.shard].sort());
    expect(again.every(({ leader }) => leader.nodeId === "m2" && leader.fence === "2")).toBe(true);
    expect(await worker.complete(three, { output: "zombie" }, second)).toMatchObject({ outcome: "stale" });
    for (const assignment of again) await worker.complete(assignment, {}, second);
    const [sum] = await worker.claimAll(1, second);
    expect(sum).toMatchObject({ name: "sum", input: { text: 'käse "quoted" \\ 日本 \u0000' } });
    expect(sum?.dependencies["load"]?.outputs[one.shard]).toBe("one \u0000");
    await other.follow(jobId);
    if (sum !== undefined) await worker.complete(sum, {}, second);
    await cluster.until(() => other.ended.has(jobId));
    const types = other.types();
    expect(types.filter((type) => type === "job.result")).toHaveLength(1);
    expect(types.filter((type) => type === "workflow.result")).toHaveLength(2);
    expect(types.filter((type) => type === "job.leader")).toHaveLength(2);
    const result = other.events.find((event) => event.type === "job.result");
    expect(result?.type === "job.result" && result.result).toMatchObject({
      status: "completed",
      workflows: [{ totals: { counters: { units: 3 } } }, { totals: { counters: { units: 1 } } }],
    });
    await cluster.until(async () => (await store.coordination.queue("shards").stats()).total === 0);
    expect(await store.jobs.counts()).toEqual({});
  } finally {
    await cluster.close();
  }
};
