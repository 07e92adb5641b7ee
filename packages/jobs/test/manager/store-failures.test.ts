import { seededRandom } from "@holdfast/kernel";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { createMemoryJobStore } from "../../src/model/job-store/index.ts";
import { Cluster } from "./cluster.ts";
import { FaultyStore } from "./faulty-store.ts";
import { completed } from "./scripted-worker.ts";

describe("a manager whose store fails", () => {
  let cluster: Cluster;
  let store: FaultyStore;
  beforeEach(() => {
    cluster = new Cluster({
      store: (clock) => {
        store = new FaultyStore(createMemoryJobStore({ clock, random: seededRandom(1) }));
        return store;
      },
    });
  });
  afterEach(async () => {
    store.faults.length = 0;
    store.isCutOff = false;
    await cluster.close();
  });

  const setUp = async () => {
    const manager = await cluster.manager("m1");
    const worker = await cluster.worker(manager, "w1");
    const client = await cluster.client(manager);
    return { manager, worker, client };
  };

  it("refuses a submission that was not stored, retryably, and takes it later", async () => {
    const { client } = await setUp();
    store.faults.push("unavailable");
    await expect(client.submit([{ name: "a" }], { jobId: "job-1" })).rejects.toMatchObject({
      code: "COORDINATION_STORE_UNAVAILABLE",
      retryable: true,
    });
    expect(await client.submit([{ name: "a" }], { jobId: "job-1" })).toMatchObject({ duplicate: false });
  });

  it.each([
    ["unknown-committed", true],
    ["unknown-rolled-back", false],
  ] as const)("leads a job once whose submission ended %s", async (fault, duplicate) => {
    const { manager, worker, client } = await setUp();
    store.faults.push(fault);
    await expect(client.submit([{ name: "a" }], { jobId: "job-1" })).rejects.toMatchObject({
      code: "KERNEL_OUTCOME_UNKNOWN",
    });
    expect(await client.submit([{ name: "a" }], { jobId: "job-1" })).toMatchObject({ duplicate });
    await cluster.until(() => manager.stats().leadingJobs === 1);
    const [held] = await worker.claimAll(1);
    if (held !== undefined) expect(await worker.complete(held)).toMatchObject({ outcome: "accepted" });
    expect(await client.finished("job-1")).toMatchObject({ status: "completed" });
  });

  it("leads a job whose submission was committed unbeknown to all, without being asked again", async () => {
    const { manager, worker, client } = await setUp();
    store.faults.push("unknown-committed");
    await expect(client.submit([{ name: "a" }], { jobId: "job-1" })).rejects.toThrow();
    await cluster.until(() => manager.stats().leadingJobs === 1);
    const [held] = await worker.claimAll(1);
    expect(held?.jobId).toBe("job-1");
  });

  it.each([
    "unavailable",
    "unknown-committed",
    "unknown-rolled-back",
  ] as const)("counts an outcome once that was reported again after %s", async (fault) => {
    const { worker, client } = await setUp();
    const { jobId } = await client.submit([{ name: "a", shards: 2 }]);
    const [first, second] = await worker.claimAll(2);
    if (first === undefined || second === undefined) return;
    await cluster.advance(500);
    store.faults.push(fault);
    await expect(worker.complete(first)).rejects.toThrow();
    const repeated = await worker.complete(first);
    expect(repeated?.outcome).toBe(fault === "unknown-committed" ? "stale" : "accepted");
    expect((await client.get(jobId)).workflows[0]).toMatchObject({
      shards: { completed: 1 },
      totals: { counters: { units: 1 } },
    });
    await worker.complete(second);
    const result = await client.finished(jobId);
    expect(result).toMatchObject({
      status: "completed",
      workflows: [{ totals: { counters: { units: 2 } } }],
    });
  });

  it("starts dependents once, whatever became of the commit that completed what they depend on", async () => {
    const { worker, client } = await setUp();
    for (const fault of ["unavailable", "unknown-committed", "unknown-rolled-back"] as const) {
      const { jobId } = await client.submit([{ name: "a" }, { name: "b", dependsOn: ["a"] }]);
      const [a] = await worker.claimAll(1);
      if (a === undefined) return;
      await cluster.advance(500);
      store.faults.push(fault);
      await expect(worker.complete(a)).rejects.toThrow();
      await worker.complete(a);
      const [b] = await worker.claimAll(1);
      expect(b).toMatchObject({ name: "b", jobId });
      if (b !== undefined) await worker.complete(b);
      expect(await client.finished(jobId)).toMatchObject({ status: "completed" });
      expect(await worker.claim(10, 200)).toEqual([]);
    }
  });

  it("keeps a job that the store refuses from failing those beside it", async () => {
    const { client } = await setUp();
    store.refuses = ({ jobId }) => jobId === "job-bad";
    const ids = ["job-1", "job-2", "job-bad", "job-3", "job-4"];
    const settled = await cluster.run(
      Promise.allSettled(ids.map((jobId) => client.submit([{ name: "a" }], { jobId }))),
    );
    expect(settled.map(({ status }) => status)).toEqual([
      "fulfilled",
      "fulfilled",
      "rejected",
      "fulfilled",
      "fulfilled",
    ]);
    expect(await cluster.run(store.jobs.counts())).toEqual({ queued: 4 });
  });

  it("goes on with a job after a failed commit though the one beside it cannot be read", async () => {
    const { manager, worker, client } = await setUp();
    for (const jobId of ["job-1", "job-2"]) await client.submit([{ name: "a" }], { jobId });
    const held = await worker.claimAll(2);
    const queue = store.coordination.queue("shards");
    const list = queue.list.bind(queue);
    let isDamaged = true;
    queue.list = async (filter) => {
      if (isDamaged && filter.group?.includes("job-1")) throw new Error("this group is damaged");
      return list(filter);
    };
    store.faults.push("unavailable");
    await expect(worker.report(held.map((claim) => completed(claim)))).rejects.toThrow();
    await cluster.advance(3_000);
    expect(manager.stats().leadingJobs).toBe(1);
    isDamaged = false;
    await cluster.until(() => manager.stats().leadingJobs === 2);
    await worker.report(held.map((claim) => completed(claim)));
    for (const jobId of ["job-1", "job-2"])
      expect(await client.finished(jobId)).toMatchObject({ status: "completed" });
  });

  it("is refused by the store once another leads its job, and sends workers there", async () => {
    const { manager, worker, client } = await setUp();
    const { jobId } = await client.submit([{ name: "a", shards: 2 }]);
    const [first] = await worker.claimAll(2);
    await cluster.advance(500);
    await cluster.run(
      store.coordination.transaction((tx) =>
        store.jobs.takeOver({ owner: "m9#rival", liveOwners: ["m9#rival"], limit: 10 }, tx),
      ),
    );
    if (first === undefined) return;
    const [answer] = await worker.report([completed(first)]);
    expect(answer).toMatchObject({ outcome: "not-leader" });
    expect(manager.stats()).toMatchObject({ deposedJobs: 1, leadingJobs: 0 });
    // Nothing of the refused commit is left: the claim still stands.
    expect(await worker.renew([first])).toEqual(["renewed"]);
    const tasks = await cluster.run(store.coordination.queue("shards").stats());
    expect(tasks).toMatchObject({ completed: 0, claimed: 2 });
    const [row] = await cluster.run(store.jobs.get([jobId]));
    expect(row).toMatchObject({ owner: "m9#rival", fence: 2n });
  });

  it("stops deciding when it is cut off from its store, hands over, and comes back with nothing", async () => {
    // The first manager sees the store through a line that can be cut; the second one does not.
    const first = await cluster.manager("m1");
    const second = await cluster.manager("m2", { store: store.inner });
    const worker = await cluster.worker(first, "w1");
    await worker.attach(second);
    const client = await cluster.client(first);
    const { jobId } = await client.submit([{ name: "a", shards: 2 }]);
    const [one, two] = await worker.claimAll(2, first);
    if (one === undefined || two === undefined) return;
    store.isCutOff = true;
    await expect(worker.complete(one, {}, first)).rejects.toMatchObject({ retryable: true });
    await cluster.until(() => first.state === "syncing");
    await cluster.until(() => second.stats().leadingJobs === 1);
    expect(first.stats().leadingJobs).toBe(0);
    store.isCutOff = false;
    await cluster.until(() => first.state === "active");
    expect(first.isLeader).toBe(false);
    expect(second.isLeader).toBe(true);
    const [stale] = await worker.report([completed(one)], first);
    expect(stale).toMatchObject({ outcome: "not-leader", leader: { nodeId: "m2", fence: "2" } });
    for (const held of await worker.claimAll(2, second)) await worker.complete(held, {}, second);
    const other = await cluster.client(second);
    expect(await other.finished(jobId)).toMatchObject({ status: "completed" });
    const leaders = new Set<string>();
    await other.follow(jobId);
    await cluster.until(() => other.ended.has(jobId));
    for (const event of other.events) if (event.type === "job.leader") leaders.add(event.leader.fence);
    expect([...leaders]).toEqual(["1", "2"]);
    expect(other.events.filter(({ type }) => type === "job.result")).toHaveLength(1);
  });
});

describe("a manager that keeps house", () => {
  let cluster: Cluster;
  beforeEach(() => {
    cluster = new Cluster();
  });
  afterEach(() => cluster.close());

  const finish = async (retention: object, count: number) => {
    const manager = await cluster.manager("m1", { retention: { sweepEveryMs: 1_000, ...retention } });
    const worker = await cluster.worker(manager, "w1");
    const client = await cluster.client(manager);
    const ids: string[] = [];
    for (let index = 0; index < count; index += 1) {
      const { jobId } = await client.submit([{ name: "a", shards: 2 }]);
      ids.push(jobId);
      for (const held of await worker.claimAll(2)) await worker.complete(held);
      await client.finished(jobId);
    }
    return { client, ids };
  };

  it("deletes ended jobs with their logs and tasks when they are too old", async () => {
    const { client, ids } = await finish({ keepMs: 5_000 }, 2);
    const open = await client.submit([{ name: "a" }]);
    await cluster.advance(3_000);
    expect((await client.get(ids[0] ?? "")).status).toBe("completed");
    await cluster.advance(5_000);
    for (const jobId of ids)
      await expect(client.get(jobId)).rejects.toMatchObject({ code: "JOBS_NOT_FOUND" });
    expect(await cluster.run(cluster.store.coordination.queue("shards").stats())).toMatchObject({ total: 1 });
    expect((await cluster.run(cluster.store.coordination.log.bounds(`job:${ids[0]}`))).head.offset).toBe(0n);
    expect((await client.get(open.jobId)).status).toBe("queued");
  });

  it("deletes those that ended first when there are too many", async () => {
    const { client, ids } = await finish({ keepMaxCount: 2 }, 4);
    await cluster.advance(1_500);
    const kept: string[] = [];
    for (const jobId of ids) {
      try {
        kept.push((await client.get(jobId)).jobId);
      } catch (error) {
        expect(error).toMatchObject({ code: "JOBS_NOT_FOUND" });
      }
    }
    expect(kept).toEqual(ids.slice(2));
  });

  it("forgets a worker that is silent although its connection stands", async () => {
    const manager = await cluster.manager("m1", { workerSilenceMs: 3_000 });
    const worker = await cluster.worker(manager, "w1");
    expect(manager.view()).toMatchObject({ health: "healthy", totalCores: 8 });
    await cluster.advance(5_000);
    expect(manager.view().workers).toEqual([]);
    expect(manager.view().health).toBe("unhealthy");
    await worker.register(manager);
    expect(manager.view().workers).toHaveLength(1);
  });
});
