import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { createMemoryNetwork } from "@holdfast/connection";
import { seededRandom, silentLogger } from "@holdfast/kernel";
import { VirtualClock } from "@holdfast/kernel/testing";
import { describe, expect, it } from "vitest";
import { z } from "zod";
import { createClient, type JobsClient } from "../src/client/index.ts";
import { createGate } from "../src/gate/index.ts";
import { createManager } from "../src/manager/index.ts";
import { defineWorkflow } from "../src/model/define-workflow.ts";
import { createMemoryJobStore } from "../src/model/job-store/index.ts";
import type { JobStore } from "../src/model/job-table.ts";
import { createRegistry } from "../src/model/registry.ts";
import { createWorker } from "../src/worker/index.ts";
import { settle } from "./settle.ts";

const WORKFLOWS_PER_JOB = 10;
const IN_FLIGHT = 6;
/** Longer than anything that has ended is remembered for its own sake. */
const REST_MS = 60_000;

setFlagsFromString("--expose-gc");
const collectGarbage = runInNewContext("gc") as () => void;

/** Which of the objects that went by are still in use somewhere. */
class Witness {
  readonly #seen: WeakRef<object>[] = [];

  see(value: unknown): void {
    if (typeof value === "object" && value !== null) this.#seen.push(new WeakRef(value));
  }

  get seenCount(): number {
    return this.#seen.length;
  }

  /** A weak reference keeps its object to the end of the turn in which it was looked at. */
  async aliveCount(): Promise<number> {
    await new Promise((resolve) => setImmediate(resolve));
    collectGarbage();
    return this.#seen.filter((ref) => ref.deref() !== undefined).length;
  }
}

/** A store that shows every event, every row and every task that is written to it. */
const watched = (store: JobStore, witness: Witness): JobStore => {
  const showing = <T extends object>(target: T, method: string, show: (argument: never) => void): T =>
    new Proxy(target, {
      get: (object, name) => {
        const member = Reflect.get(object, name) as unknown;
        if (typeof member !== "function") return member;
        return (...values: unknown[]) => {
          if (name === method) show(values[0] as never);
          return (member as (...all: unknown[]) => unknown).apply(object, values);
        };
      },
    });
  const { coordination } = store;
  const log = showing(coordination.log, "append", (entries: readonly { payload: unknown }[]) => {
    for (const { payload } of entries) witness.see(payload);
  });
  const jobs = showing(store.jobs, "insert", (rows: readonly { spec: unknown; state: unknown }[]) => {
    for (const { spec, state } of rows) for (const value of [spec, state]) witness.see(value);
  });
  return {
    jobs,
    coordination: new Proxy(coordination, {
      get: (object, name) => {
        if (name === "log") return log;
        const member = Reflect.get(object, name) as unknown;
        return typeof member === "function" ? member.bind(object) : member;
      },
    }),
    [Symbol.asyncDispose]: () => store[Symbol.asyncDispose](),
  };
};

/** Each workflow but the first waits for one before it: a tree with two branches at every knot. */
const workflowsOf = () =>
  Array.from({ length: WORKFLOWS_PER_JOB }, (_, index) => ({
    workflow: "step",
    name: `step-${index}`,
    input: { index },
    dependsOn: index === 0 ? [] : [`step-${Math.floor((index - 1) / 2)}`],
  }));

const build = async () => {
  const clock = new VirtualClock();
  const transport = createMemoryNetwork({ clock, latencyMs: 1 });
  const witness = new Witness();
  let seed = 0;
  const base = () => {
    seed += 1;
    return { clock, transport, logger: silentLogger, random: seededRandom(seed) };
  };
  const newStore = () => watched(createMemoryJobStore({ clock }) as JobStore, witness);
  const [managerStore, gateStore] = [newStore(), newStore()];
  // The stores are memory here: without this they would keep all that has ended.
  const retention = { keepMaxCount: 5, sweepEveryMs: 1_000 };
  const step = defineWorkflow({
    name: "step",
    input: z.object({ index: z.number() }),
    run: async (ctx) => {
      await clock.sleep(5, { signal: ctx.signal });
      ctx.count("steps");
      ctx.record("index", ctx.input.index + 1);
      return { index: ctx.input.index };
    },
  });
  const manager = await createManager({
    ...base(),
    nodeId: "manager",
    datacenter: "east",
    listen: "manager:7411",
    store: managerStore,
    retention,
  });
  const workers = await Promise.all(
    ["worker-1", "worker-2"].map((nodeId) =>
      createWorker({
        ...base(),
        nodeId,
        datacenter: "east",
        managers: ["manager:7411"],
        cores: 4,
        registry: createRegistry([step]),
      }),
    ),
  );
  const gate = await createGate({
    ...base(),
    nodeId: "gate",
    listen: "gate:7401",
    store: gateStore,
    datacenters: { east: ["manager:7411"] },
    rateLimits: "off",
    retention,
  });
  const client = createClient({ ...base(), gates: ["gate:7401"] });
  await clock.advance(2_000);

  /** What the cell holds at rest. */
  const look = async () => {
    await clock.advance(REST_MS);
    const queue = await managerStore.coordination.queue("shards").stats();
    const leases = [
      ...(await gateStore.coordination.leases.list("")),
      ...(await managerStore.coordination.leases.list("")),
    ];
    const { finishedJobs, feed, connections } = gate.stats();
    const { leadingJobs, subscriptions, claims } = manager.stats();
    return {
      timers: clock.pendingCount,
      leases: leases.map(({ name }) => name).sort(),
      openTasks: queue.waiting + queue.pending + queue.delayed + queue.claimed,
      tasks: queue.total,
      connections,
      ledJobs: [gate.stats().ledJobs, leadingJobs],
      finishedJobs,
      feed: { followedJobs: feed.followedJobs, subscriptions: feed.subscriptions, bytes: feed.memoryBytes },
      managerSubscriptions: subscriptions,
      waitingClaims: claims.waiting,
      workers: workers.map((worker) => {
        const { busyCores, queuedShards, undeliveredOutcomes } = worker.stats();
        return { busyCores, queuedShards, undeliveredOutcomes };
      }),
      watches: client.stats().watches,
    };
  };
  const stop = async () => {
    await settle(clock, client.close());
    await settle(clock, gate.stop({ drainMs: 0 }));
    await settle(clock, Promise.all(workers.map((worker) => worker.stop({ drainMs: 0 }))));
    await settle(clock, manager.stop({ drainMs: 0 }));
    for (const store of [gateStore, managerStore]) await store[Symbol.asyncDispose]();
    await clock.advance(0);
  };
  return { clock, client, witness, look, stop };
};

/** Runs so many jobs, some at a time; returns how many workflows completed. */
const runJobs = async (clock: VirtualClock, client: JobsClient, count: number): Promise<number> => {
  let left = count;
  let steps = 0;
  const lane = async (): Promise<void> => {
    while (left > 0) {
      left -= 1;
      const result = await client.run({ workflows: workflowsOf() });
      for (const { totals } of result.workflows) steps += totals.counters["steps"] ?? 0;
    }
  };
  await settle(clock, Promise.all(Array.from({ length: IN_FLIGHT }, lane)), 600_000);
  return steps;
};

describe("many jobs with many workflows", () => {
  it("leave no lease, task, timer, subscription or connection behind, and nothing in memory that grows with them", async () => {
    const { clock, client, witness, look, stop } = await build();
    expect(await runJobs(clock, client, 10)).toBe(10 * WORKFLOWS_PER_JOB);
    const before = await look();
    const aliveBefore = await witness.aliveCount();
    const seenBefore = witness.seenCount;
    expect(await runJobs(clock, client, 60)).toBe(60 * WORKFLOWS_PER_JOB);
    const after = await look();
    // These two depend on what the workers are about to ask in that moment, not on the jobs.
    expect(after.timers).toBeLessThanOrEqual(before.timers + 8);
    expect(after.waitingClaims).toBeLessThanOrEqual(8);
    expect({ ...after, timers: 0, waitingClaims: 0 }).toEqual({ ...before, timers: 0, waitingClaims: 0 });
    expect(after).toMatchObject({ openTasks: 0, ledJobs: [0, 0], finishedJobs: 0, watches: 0 });
    expect(after.feed).toEqual({ followedJobs: 0, subscriptions: 0, bytes: 0 });
    // Events and rows of sixty jobs went by; what is still held does not depend on how many.
    expect(witness.seenCount - seenBefore).toBeGreaterThan(60 * WORKFLOWS_PER_JOB);
    expect(await witness.aliveCount()).toBeLessThanOrEqual(aliveBefore + 20);
    await stop();
    expect(clock.pendingCount).toBe(0);
  });
});
