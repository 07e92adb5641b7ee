import { type Random, randomInt, seededRandom } from "@holdfast/kernel";
import type { Assignment, JobEvent, JobResult } from "@holdfast/protocol/contract";
import { describe, expect, it } from "vitest";
import type { Manager } from "../../src/manager/index.ts";
import { createMemoryJobStore } from "../../src/model/job-store/index.ts";
import { Cluster } from "./cluster.ts";
import { FaultyStore } from "./faulty-store.ts";
import { completed, failed, type ScriptedWorker } from "./scripted-worker.ts";

const FAULTS = ["unavailable", "unknown-committed", "unknown-rolled-back"] as const;
const MANAGERS = ["m1", "m2", "m3"];

/** Managers that die and come back, over a store that fails, with workers that never give up. */
class Chaos {
  readonly cluster: Cluster;
  readonly random: Random;
  readonly stores = new Map<string, FaultyStore>();
  readonly managers = new Map<string, Manager>();
  readonly workers: ScriptedWorker[] = [];
  /** How often an outcome was answered as accepted, by job and task. */
  readonly accepted = new Map<string, number>();
  isOver = false;

  constructor(seed: number) {
    this.random = seededRandom(seed);
    this.cluster = new Cluster({
      store: (clock) => createMemoryJobStore({ clock, random: seededRandom(seed + 1) }),
    });
  }

  pick<T>(items: readonly T[]): T {
    return items[randomInt(this.random, items.length)] as T;
  }

  sleep(ms: number): Promise<void> {
    return this.cluster.clock.sleep(ms);
  }

  async start(nodeId: string): Promise<void> {
    const store = this.stores.get(nodeId) ?? new FaultyStore(this.cluster.store);
    this.stores.set(nodeId, store);
    while (!this.managers.has(nodeId)) {
      try {
        const options = { store, nodeLeaseMs: 3_000, taskLeaseMs: 3_000, sweepEveryMs: 500 };
        this.managers.set(nodeId, await this.cluster.manager(nodeId, options));
      } catch {
        await this.sleep(500);
      }
    }
    for (const worker of this.workers) await this.attach(worker, nodeId);
  }

  async attach(worker: ScriptedWorker, nodeId: string): Promise<void> {
    const manager = this.managers.get(nodeId);
    if (manager !== undefined) await worker.attach(manager).catch(() => undefined);
  }

  async end(nodeId: string, how: "kill" | "stop"): Promise<void> {
    const manager = this.managers.get(nodeId);
    this.managers.delete(nodeId);
    await (how === "kill" ? manager?.kill() : manager?.stop({ drainMs: 500 }));
  }

  /** Claims anywhere and runs what it gets, until the test is over. */
  async work(worker: ScriptedWorker): Promise<void> {
    while (!this.isOver) {
      const manager = this.pick([...this.managers.values(), undefined]);
      if (manager === undefined) {
        await this.sleep(100);
        continue;
      }
      try {
        const assignments = await worker.claim(3, 500, manager);
        await Promise.all(assignments.map((assignment) => this.runShard(worker, assignment)));
      } catch {
        await this.sleep(100);
        await worker.register(manager).catch(() => undefined);
      }
    }
  }

  /** A shard that takes up to two leases; renewed or not; with an outcome repeated until it is answered. */
  async runShard(worker: ScriptedWorker, assignment: Assignment): Promise<void> {
    const endsAt = this.cluster.clock.monotonicNow() + this.random.next() * 6_000;
    const isRenewed = this.random.next() < 0.9;
    while (this.cluster.clock.monotonicNow() < endsAt) {
      await this.sleep(800);
      for (const manager of isRenewed ? [...this.managers.values()] : []) {
        const outcome = await worker.renew([assignment], manager).catch(() => undefined);
        if (outcome?.[0] === "cancelled") return;
        if (outcome !== undefined) break;
      }
    }
    const isGood = this.random.next() < 0.9;
    const outcome = isGood ? completed(assignment) : failed(assignment);
    for (let tries = 0; tries < 200 && !this.isOver; tries += 1) {
      for (const manager of [...this.managers.values()]) {
        const [answer] = (await worker.report([outcome], manager).catch(() => undefined)) ?? [];
        if (answer?.outcome === "accepted" && isGood) {
          const key = `${assignment.jobId} ${assignment.taskId}`;
          this.accepted.set(key, (this.accepted.get(key) ?? 0) + 1);
        }
        if (answer?.outcome === "accepted" || answer?.outcome === "stale") return;
      }
      await this.sleep(300);
    }
  }

  async submit(index: number): Promise<string> {
    const jobId = `job-${index}`;
    const shards = 1 + randomInt(this.random, 4);
    const workflows = [
      { name: "a", shards, maxAttempts: 50 },
      { name: "b", shards: 2, dependsOn: ["a"], maxAttempts: 50 },
      ...(index % 3 === 0 ? [{ name: "c", dependsOn: ["a"], maxAttempts: 50 }] : []),
    ];
    for (;;) {
      for (const manager of [...this.managers.values()]) {
        try {
          const client = await this.cluster.client(manager);
          await client.submit(workflows, { jobId, timeoutMs: 3_600_000 });
          return jobId;
        } catch {
          await this.sleep(100);
        }
      }
      await this.sleep(200);
    }
  }

  async disturb(untilMs: number): Promise<void> {
    while (this.cluster.clock.monotonicNow() < untilMs) {
      await this.sleep(200 + this.random.next() * 2_500);
      const nodeId = this.pick(MANAGERS);
      const store = this.stores.get(nodeId);
      const chance = this.random.next();
      if (chance < 0.5) {
        for (let count = 0; count < 1 + randomInt(this.random, 3); count += 1) {
          store?.faults.push(this.pick(FAULTS));
        }
      } else if (chance < 0.65 && store !== undefined) {
        store.isCutOff = true;
        await this.sleep(500 + this.random.next() * 6_000);
        store.isCutOff = false;
      } else {
        await this.end(nodeId, chance < 0.85 ? "kill" : "stop");
        await this.sleep(this.random.next() * 5_000);
        await this.start(nodeId);
      }
    }
    for (const store of this.stores.values()) store.faults.length = 0;
  }

  /** The job's whole log, checked to be without gap. */
  async events(jobId: string): Promise<readonly JobEvent[]> {
    const read = await this.cluster.store.coordination.log.read(`job:${jobId}`, { limit: 10_000 });
    if (read.kind !== "entries") throw new Error("the log was reset");
    const offsets = read.entries.map(({ position }) => Number(position.offset));
    expect(offsets).toEqual(offsets.map((_, index) => index + 1));
    return read.entries.map(({ payload }) => payload as unknown as JobEvent);
  }
}

describe("managers in chaos", () => {
  it.each([
    1, 2, 3, 4, 5, 6,
  ])("bring every job to one end and count every shard once (seed %i)", async (seed) => {
    const chaos = new Chaos(seed);
    const { cluster } = chaos;
    const scenario = async (): Promise<void> => {
      for (const nodeId of MANAGERS) await chaos.start(nodeId);
      for (const nodeId of ["w1", "w2", "w3"]) {
        const worker = await cluster.worker(chaos.managers.get("m1") as Manager, nodeId);
        chaos.workers.push(worker);
        await chaos.attach(worker, "m2");
        await chaos.attach(worker, "m3");
      }
      const work = chaos.workers.map((worker) => chaos.work(worker));
      const disturbance = chaos.disturb(cluster.clock.monotonicNow() + 60_000);
      const jobIds: string[] = [];
      for (let index = 0; index < 10; index += 1) {
        jobIds.push(await chaos.submit(index));
        await chaos.sleep(chaos.random.next() * 3_000);
      }
      await disturbance;
      const deadline = cluster.clock.monotonicNow() + 600_000;
      for (;;) {
        const counts = await cluster.store.jobs.counts();
        if (counts.completed === jobIds.length) break;
        if (cluster.clock.monotonicNow() > deadline) throw new Error(`unfinished: ${JSON.stringify(counts)}`);
        await chaos.sleep(500);
      }
      chaos.isOver = true;
      await Promise.all(work);
      for (const jobId of jobIds) await checkJob(chaos, jobId);
      for (const count of chaos.accepted.values()) expect(count).toBe(1);
    };
    await cluster.run(scenario(), 2_000_000);
    await cluster.close();
  });
});

const checkJob = async (chaos: Chaos, jobId: string): Promise<void> => {
  const events = await chaos.events(jobId);
  const results = events.flatMap((event) => (event.type === "job.result" ? [event.result] : []));
  expect(results).toHaveLength(1);
  expect(events.at(-1)?.type).toBe("job.result");
  const result = results[0] as JobResult;
  expect(result.status).toBe("completed");
  for (const workflow of result.workflows) {
    const { total, completed: done, failed: dead } = workflow.shards;
    expect([done, dead]).toEqual([total, 0]);
    expect(workflow.totals.counters).toEqual({ units: total });
    expect(workflow.outputs).toEqual(Array.from({ length: total }, (_, shard) => ({ shard })));
  }
  expect(events.filter(({ type }) => type === "workflow.result")).toHaveLength(result.workflows.length);
  const fences = events.flatMap((event) => (event.type === "job.leader" ? [BigInt(event.leader.fence)] : []));
  expect(fences).toEqual([...fences].sort((a, b) => (a < b ? -1 : 1)));
  expect(new Set(fences).size).toBe(fences.length);
};
