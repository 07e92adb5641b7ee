import { ping } from "@holdfast/protocol/contract";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { Cluster } from "./cluster.ts";
import { completed } from "./scripted-worker.ts";

describe("two managers over one store", () => {
  let cluster: Cluster;
  beforeEach(() => {
    cluster = new Cluster();
  });
  afterEach(() => cluster.close());

  const setUp = async () => {
    const first = await cluster.manager("m1");
    const second = await cluster.manager("m2");
    const worker = await cluster.worker(first, "w1");
    await worker.attach(second);
    const client = await cluster.client(first);
    return { first, second, worker, client };
  };

  it("know each other, and exactly one of them leads the datacenter", async () => {
    const { first, second, worker } = await setUp();
    expect([first.isLeader, second.isLeader]).toEqual([true, false]);
    await cluster.advance(1_500);
    const answer = await worker.register(first);
    expect(answer.managers.map(({ nodeId }) => nodeId)).toEqual(["m1", "m2"]);
    const view = second.view();
    expect(view.leader).toMatchObject({ nodeId: "m1", address: first.address });
    expect(view.managers.map(({ nodeId, isLeader }) => [nodeId, isLeader])).toEqual([
      ["m1", true],
      ["m2", false],
    ]);
  });

  it("finish a job whose leader was killed: the other takes it over under a larger fence and loses nothing", async () => {
    const { first, second, worker, client } = await setUp();
    const { jobId } = await client.submit([
      { name: "a", shards: 3 },
      { name: "b", dependsOn: ["a"] },
    ]);
    const held = await worker.claimAll(3, first);
    const [done, ...running] = held as [(typeof held)[number], ...(typeof held)[number][]];
    expect(await worker.complete(done, { output: "before" }, first)).toMatchObject({ outcome: "accepted" });
    const killedAt = cluster.clock.monotonicNow();
    await cluster.run(first.kill());
    // The claims live in the store: another manager renews them.
    expect(await worker.renew(running, second)).toEqual(["renewed", "renewed"]);
    const other = await cluster.client(second);
    await other.follow(jobId);
    await cluster.until(() => second.stats().leadingJobs === 1);
    expect(cluster.clock.monotonicNow() - killedAt).toBeLessThan(6_500);
    await cluster.until(() => worker.leaders.length > 0);
    expect(worker.leaders).toMatchObject([{ jobId, leader: { nodeId: "m2", fence: "2" } }]);
    for (const assignment of running) {
      await worker.renew(running, second);
      expect(await worker.complete(assignment, {}, second)).toMatchObject({ outcome: "accepted" });
    }
    const [b] = await worker.claim(1, 2_000, second);
    expect(b).toMatchObject({ name: "b", leader: { nodeId: "m2", fence: "2" } });
    expect(b?.dependencies["a"]?.counters).toEqual({ units: 3 });
    if (b !== undefined) await worker.complete(b, {}, second);
    const result = await other.finished(jobId);
    expect(result).toMatchObject({ status: "completed" });
    expect(result.workflows[0]?.outputs[done.shard]).toBe("before");
    await cluster.until(() => other.ended.has(jobId));
    const leaders = other.events.filter((event) => event.type === "job.leader");
    expect(leaders).toMatchObject([
      { leader: { nodeId: "m1", fence: "1" } },
      { leader: { nodeId: "m2", fence: "2" }, previous: "m1" },
    ]);
    expect(second.isLeader).toBe(true);
  });

  it("hand out shards of each other's jobs, whose outcomes go to the job's leader", async () => {
    const { second, worker, client } = await setUp();
    const { jobId } = await client.submit([
      { name: "a", input: { x: 1 } },
      { name: "b", dependsOn: ["a"] },
    ]);
    await cluster.advance(1_500);
    const [a] = await worker.claim(1, 1_000, second);
    expect(a).toMatchObject({ name: "a", input: { x: 1 }, leader: { nodeId: "m1", fence: "1" } });
    if (a === undefined) return;
    const [answer] = await worker.report([completed(a)], second);
    expect(answer).toMatchObject({ outcome: "not-leader", leader: { nodeId: "m1", fence: "1" } });
    // Its leader learns from the queue that it runs, though the worker has said nothing.
    await cluster.until(async () => (await client.get(jobId)).status === "running");
    expect((await client.get(jobId)).workflows[0]).toMatchObject({
      status: "running",
      shards: { running: 1 },
    });
    const first = cluster.managers[0];
    if (first === undefined) return;
    expect(await worker.complete(a, { output: 7 }, first)).toMatchObject({ outcome: "accepted" });
    const [b] = await worker.claim(1, 1_000, second);
    expect(b?.dependencies).toEqual({ a: { outputs: [7], counters: { units: 1 } } });
  });

  it("tell each other of lapsed claims, also of the last attempt", async () => {
    const { second, worker, client } = await setUp();
    const { jobId } = await client.submit([{ name: "a", maxAttempts: 1 }]);
    await worker.claimAll(1, second);
    const result = await client.finished(jobId);
    expect(result.workflows[0]).toMatchObject({ status: "failed", error: { code: "JOBS_CLAIM_LOST" } });
  });

  it("answer for each other's jobs", async () => {
    const { first, second, worker, client } = await setUp();
    const { jobId } = await client.submit([{ name: "a", shards: 2 }]);
    const held = await worker.claimAll(2, first);
    await worker.complete(held[0] as (typeof held)[number], {}, first);
    const other = await cluster.client(second);
    await cluster.advance(1_500);
    expect(await other.get(jobId)).toMatchObject({
      leader: { nodeId: "m1", fence: "1" },
      workflows: [{ shards: { total: 2, completed: 1, running: 1 }, totals: { counters: { units: 1 } } }],
    });
    await other.follow(jobId);
    await worker.complete(held[1] as (typeof held)[number], {}, first);
    expect(await other.finished(jobId)).toMatchObject({ status: "completed" });
    await cluster.until(() => other.ended.has(jobId));
    expect(other.types().at(-1)).toBe("job.result");
  });

  it("hand over at once when one is stopped", async () => {
    const { first, second, worker, client } = await setUp();
    const { jobId } = await client.submit([{ name: "a" }]);
    const [held] = await worker.claimAll(1, first);
    const stoppedAt = cluster.clock.monotonicNow();
    await cluster.run(first.stop());
    expect(first.state).toBe("offline");
    await cluster.until(() => second.stats().leadingJobs === 1 && second.isLeader);
    expect(cluster.clock.monotonicNow() - stoppedAt).toBeLessThan(2_500);
    if (held === undefined) return;
    expect(await worker.complete(held, {}, second)).toMatchObject({ outcome: "accepted" });
    const other = await cluster.client(second);
    expect(await other.finished(jobId)).toMatchObject({ status: "completed" });
  });

  it("leave a manager that comes back under its name as a follower with no jobs", async () => {
    const { first, second, client } = await setUp();
    const { jobId } = await client.submit([{ name: "a" }]);
    await cluster.run(first.kill());
    await cluster.until(() => second.stats().leadingJobs === 1);
    const again = await cluster.manager("m1");
    await cluster.advance(3_000);
    expect(again.isLeader).toBe(false);
    expect(again.stats().leadingJobs).toBe(0);
    const [row] = await cluster.run(cluster.store.jobs.get([jobId]));
    expect(row).toMatchObject({ fence: 2n });
  });

  it("say who they are when pinged", async () => {
    const { second, client } = await setUp();
    expect(await cluster.run(client.peer.request(ping, {}))).toMatchObject({
      nodeId: "m1",
      role: "manager",
      state: "active",
      datacenter: "east",
      isLeader: true,
    });
    expect(second.state).toBe("active");
  });
});
