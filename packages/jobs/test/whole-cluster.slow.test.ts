import { createMemoryNetwork, type Transport } from "@holdfast/connection";
import { randomInt, seededRandom, silentLogger } from "@holdfast/kernel";
import { VirtualClock } from "@holdfast/kernel/testing";
import type { JobEvent, JobResult } from "@holdfast/protocol/contract";
import { describe, expect, it } from "vitest";
import { z } from "zod";
import { createClient, type JobsClient } from "../src/client/index.ts";
import { createGate, type Gate } from "../src/gate/index.ts";
import { createManager, type Manager } from "../src/manager/index.ts";
import { defineWorkflow } from "../src/model/define-workflow.ts";
import { createMemoryJobStore } from "../src/model/job-store/index.ts";
import type { JobStore } from "../src/model/job-table.ts";
import { createRegistry } from "../src/model/registry.ts";
import { createWorker, type Worker } from "../src/worker/index.ts";
import { settle } from "./settle.ts";

interface Node {
  kill(): Promise<void>;
}

/** Client, gates, managers and workers in one process, on a virtual clock. Each node can die and come back. */
class World {
  readonly clock = new VirtualClock();
  readonly transport: Transport = createMemoryNetwork({ clock: this.clock, latencyMs: 1 });
  readonly nodes = new Map<string, { start: () => Promise<Node>; node: Node | undefined }>();
  readonly stores: JobStore[] = [];
  readonly gateStore: JobStore;
  readonly clients: JobsClient[] = [];
  /** How often each shard of each job ran to its end, by job, datacenter and shard. */
  readonly ran = new Map<string, number>();
  readonly #random;
  #seedCount = 0;

  constructor(seed: number) {
    this.#random = seededRandom(seed);
    this.gateStore = this.#newStore();
  }

  #newStore(): JobStore {
    const store = createMemoryJobStore({ clock: this.clock, random: this.random() }) as JobStore;
    this.stores.push(store);
    return store;
  }

  random() {
    this.#seedCount += 1;
    return seededRandom(randomInt(this.#random, 2 ** 31) + this.#seedCount);
  }

  pick<T>(items: readonly T[]): T {
    return items[randomInt(this.#random, items.length)] as T;
  }

  chance(): number {
    return this.#random.next();
  }

  async build(options: { gates: number; datacenters: readonly string[]; managers: number; workers: number }) {
    const { clock, transport } = this;
    const base = { transport, clock, logger: silentLogger };
    const addressesOf = (datacenter: string) =>
      Array.from({ length: options.managers }, (_, index) => `${datacenter}-m${index}:7411`);
    for (const datacenter of options.datacenters) {
      const store = this.#newStore();
      for (const [index, listen] of addressesOf(datacenter).entries()) {
        await this.#add(
          `${datacenter}-m${index}`,
          (): Promise<Manager> =>
            createManager({
              ...base,
              random: this.random(),
              nodeId: `${datacenter}-m${index}`,
              datacenter,
              listen,
              store,
              nodeLeaseMs: 2_000,
              taskLeaseMs: 2_000,
              progressEveryMs: 100,
            }),
        );
      }
      for (let index = 0; index < options.workers; index += 1) {
        await this.#add(`${datacenter}-w${index}`, async (): Promise<Node> => {
          const worker: Worker = await createWorker({
            ...base,
            random: this.random(),
            nodeId: `${datacenter}-w${index}`,
            datacenter,
            managers: addressesOf(datacenter),
            cores: 4,
            registry: this.#registry(),
          });
          return { kill: () => worker.stop({ drainMs: 0 }) };
        });
      }
    }
    for (let index = 0; index < options.gates; index += 1) {
      await this.#add(
        `gate-${index}`,
        (): Promise<Gate> =>
          createGate({
            ...base,
            random: this.random(),
            nodeId: `gate-${index}`,
            listen: `gate-${index}:7401`,
            store: this.gateStore,
            datacenters: Object.fromEntries(options.datacenters.map((name) => [name, addressesOf(name)])),
            nodeLeaseMs: 2_000,
            rateLimits: "off",
          }),
      );
    }
    await clock.advance(2_000);
  }

  #registry() {
    const count = defineWorkflow({
      name: "count",
      input: z.object({ units: z.number(), pauseMs: z.number(), failing: z.boolean().default(false) }),
      shards: 4,
      maxAttempts: 20,
      backoff: { baseMs: 100 },
      run: async ({ input, progress, count: add, record, shard, jobId, datacenter, signal }) => {
        for (let unit = 1; unit <= input.units; unit += 1) {
          await this.clock.sleep(input.pauseMs, { signal });
          progress(unit, input.units);
          add("units");
          record("latency", unit);
        }
        if (input.failing) throw new Error("as asked");
        const key = `${jobId}/${datacenter}/${shard}`;
        this.ran.set(key, (this.ran.get(key) ?? 0) + 1);
        return { shard, units: input.units };
      },
    });
    const sum = defineWorkflow({
      name: "sum",
      input: z.object({ units: z.number(), pauseMs: z.number() }),
      dependsOn: ["count"],
      run: async ({ dependencies }) => ({ units: dependencies["count"]?.counters["units"] ?? -1 }),
    });
    return createRegistry([count, sum]);
  }

  async #add(name: string, start: () => Promise<Node>): Promise<void> {
    this.nodes.set(name, { start, node: await settle(this.clock, start()) });
  }

  async kill(name: string): Promise<void> {
    const entry = this.nodes.get(name);
    const node = entry?.node;
    if (entry === undefined || node === undefined) return;
    entry.node = undefined;
    await settle(this.clock, node.kill());
  }

  async revive(name: string): Promise<void> {
    const entry = this.nodes.get(name);
    if (entry === undefined || entry.node !== undefined) return;
    entry.node = await settle(this.clock, entry.start());
  }

  up(prefix: RegExp): string[] {
    return [...this.nodes].flatMap(([name, { node }]) =>
      node !== undefined && prefix.test(name) ? [name] : [],
    );
  }

  client(): JobsClient {
    const client = createClient({
      gates: [...this.nodes.keys()].filter((name) => name.startsWith("gate")).map((name) => `${name}:7401`),
      transport: this.transport,
      clock: this.clock,
      random: this.random(),
      clientId: `client-${this.clients.length}`,
      backoffBaseMs: 100,
    });
    this.clients.push(client);
    return client;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const client of this.clients) await settle(this.clock, client.close());
    for (const name of [...this.nodes.keys()].reverse()) await this.kill(name);
    for (const store of this.stores) await store[Symbol.asyncDispose]();
  }
}

/** Follows a job to its end and keeps what was seen. */
const watchAll = (client: JobsClient, jobId: string) => {
  const offsets: bigint[] = [];
  const events: JobEvent[] = [];
  const done = (async () => {
    for await (const item of client.watch(jobId)) {
      if (item.kind === "reset") throw new Error("the history was lost");
      if (item.kind !== "event") continue;
      offsets.push(BigInt(item.position.offset));
      events.push(item.event);
    }
  })();
  done.catch(() => undefined);
  return { offsets, events, done };
};

const expectSound = (watch: ReturnType<typeof watchAll>, result: JobResult): void => {
  expect(watch.offsets).toEqual(watch.offsets.map((_, index) => BigInt(index + 1)));
  const results = watch.events.filter(
    (event) => event.type === "job.result" && event.datacenter === undefined,
  );
  expect(results).toHaveLength(1);
  expect(watch.events.at(-1)).toMatchObject({ type: "job.result", result });
  const fences = watch.events.flatMap((event) =>
    event.type === "job.leader" && event.role === "gate" ? [BigInt(event.leader.fence)] : [],
  );
  expect(fences).toEqual([...new Set(fences)].sort((a, b) => (a < b ? -1 : 1)));
};

describe("a whole cluster", () => {
  it("runs a job with dependencies in two datacenters, and the totals are the sum of the parts", async () => {
    await using world = new World(1);
    await world.build({ gates: 2, datacenters: ["east", "west"], managers: 2, workers: 2 });
    const client = world.client();
    const { jobId } = await settle(
      world.clock,
      client.submit({
        workflows: [{ workflow: "sum", input: { units: 25, pauseMs: 20 } }],
        datacenters: ["east", "west"],
      }),
    );
    const watch = watchAll(client, jobId);
    const result = await settle(world.clock, client.result(jobId));
    await settle(world.clock, watch.done);
    expectSound(watch, result);
    expect(result.status).toBe("completed");
    const count = result.workflows.find(({ name }) => name === "count");
    expect(count).toMatchObject({
      status: "completed",
      shards: { total: 8, completed: 8, failed: 0 },
      totals: { counters: { units: 200 }, histograms: { latency: { count: 200, max: 25 } } },
      datacenters: {
        east: { totals: { counters: { units: 100 } } },
        west: { totals: { counters: { units: 100 } } },
      },
    });
    // Each datacenter summed its own part.
    expect(result.workflows.find(({ name }) => name === "sum")?.outputs).toEqual([
      { units: 100 },
      { units: 100 },
    ]);
    const windows = watch.events.filter(({ type }) => type === "window");
    expect(windows.length).toBeGreaterThanOrEqual(2);
    expect(new Set(windows.map(({ datacenter }) => datacenter))).toEqual(new Set(["east", "west"]));
    const view = await settle(world.clock, client.cluster());
    expect(view.gates.map(({ isLeader }) => isLeader).filter(Boolean)).toHaveLength(1);
    expect(view.datacenters.map(({ health, workers }) => [health, workers.length])).toEqual([
      ["healthy", 2],
      ["healthy", 2],
    ]);
  });

  it("brings the results of many jobs that were run at once, also when the gate that took them dies", async () => {
    await using world = new World(7);
    await world.build({ gates: 2, datacenters: ["east"], managers: 2, workers: 2 });
    const client = world.client();
    const runs = Promise.all(
      Array.from({ length: 40 }, (_, index) =>
        client.run({
          workflows: [{ workflow: "count", input: { units: 1 + (index % 20), pauseMs: 60 }, shards: 1 }],
        }),
      ),
    );
    // Some have ended by then, some have not.
    await world.clock.advance(700);
    const [gate] = (await settle(world.clock, client.ping())).filter(({ nodeId }) => nodeId !== undefined);
    await world.kill(gate?.nodeId ?? "");
    const results = await settle(world.clock, runs);
    expect(results.map(({ status }) => status)).toEqual(results.map(() => "completed"));
    expect(new Set(results.map(({ jobId }) => jobId)).size).toBe(40);
    results.forEach((result, index) => {
      expect(result.workflows[0]?.totals.counters).toEqual({ units: 1 + (index % 20) });
    });
  });

  it("refuses one job of many that were run at once, and runs the others", async () => {
    await using world = new World(8);
    await world.build({ gates: 1, datacenters: ["east"], managers: 1, workers: 1 });
    const client = world.client();
    const runs = ["count", "nothing", "count"].map((workflow) =>
      client.run({ workflows: [{ workflow, input: { units: 1, pauseMs: 1 }, shards: 1 }] }),
    );
    const outcomes = await settle(world.clock, Promise.allSettled(runs));
    expect(outcomes[0]).toMatchObject({ status: "fulfilled", value: { status: "completed" } });
    expect(outcomes[1]).toMatchObject({ status: "rejected", reason: { code: "JOBS_UNKNOWN_WORKFLOW" } });
    expect(outcomes[2]).toMatchObject({ status: "fulfilled", value: { status: "completed" } });
  });

  it("cancels running work everywhere and says so only when it has stopped", async () => {
    await using world = new World(2);
    await world.build({ gates: 1, datacenters: ["east", "west"], managers: 1, workers: 1 });
    const client = world.client();
    const { jobId } = await settle(
      world.clock,
      client.submit({
        workflows: [{ workflow: "count", input: { units: 10_000, pauseMs: 50 } }],
        datacenterCount: 2,
      }),
    );
    await world.clock.advance(3_000);
    expect(await settle(world.clock, client.get(jobId))).toMatchObject({ status: "running" });
    expect((await settle(world.clock, client.cancel(jobId))).outcome).toBe("cancelling");
    const result = await settle(world.clock, client.result(jobId));
    expect(result).toMatchObject({
      status: "cancelled",
      datacenters: { east: { status: "cancelled" }, west: { status: "cancelled" } },
    });
    expect(world.ran.size).toBe(0);
  });

  it("reports an unknown workflow and a bad input at once, and a failing one with its error", async () => {
    await using world = new World(3);
    await world.build({ gates: 1, datacenters: ["east"], managers: 1, workers: 1 });
    const client = world.client();
    const submit = (workflow: string, input: unknown) =>
      settle(world.clock, client.submit({ workflows: [{ workflow, input, maxAttempts: 2 }] }));
    await expect(submit("nothing", {})).rejects.toMatchObject({ code: "JOBS_UNKNOWN_WORKFLOW" });
    await expect(submit("count", { units: "many", pauseMs: 1 })).rejects.toMatchObject({
      code: "JOBS_INVALID_INPUT",
    });
    const { jobId } = await submit("count", { units: 1, pauseMs: 1, failing: true });
    const result = await settle(world.clock, client.result(jobId));
    expect(result.status).toBe("failed");
    expect(result.errors.join(" ")).toMatch(/east: .*as asked/);
  });

  for (const seed of [11, 12, 13, 14, 15, 16]) {
    it(`brings every job to one end while nodes die and come back (seed ${seed})`, async () => {
      await using world = new World(seed);
      await world.build({ gates: 3, datacenters: ["east", "west"], managers: 2, workers: 2 });
      const client = world.client();
      const watches: ReturnType<typeof watchAll>[] = [];
      const results: Promise<JobResult>[] = [];
      const submitted: string[] = [];
      for (let round = 0; round < 12; round += 1) {
        const pending = client.submit({
          workflows: [{ workflow: world.pick(["count", "sum"]), input: { units: 10, pauseMs: 50 } }],
          datacenterCount: world.pick([1, 2]),
          timeoutMs: 600_000,
        });
        pending.then(
          ({ jobId }) => {
            submitted.push(jobId);
            watches.push(watchAll(client, jobId));
            results.push(client.result(jobId));
          },
          () => undefined,
        );
        await world.clock.advance(world.chance() * 1_500);
        // One node of each kind at a time, so that somebody is always there to go on.
        const victim = world.pick([
          world.pick(world.up(/^gate/)),
          world.pick(world.up(/-m/)),
          world.pick(world.up(/-w/)),
        ]);
        await world.kill(victim);
        await world.clock.advance(world.chance() * 6_000);
        await world.revive(victim);
        await settle(world.clock, pending);
      }
      const ended = await settle(world.clock, Promise.all(results), 600_000);
      await settle(world.clock, Promise.all(watches.map(({ done }) => done)), 60_000);
      expect(ended).toHaveLength(12);
      for (const [index, result] of ended.entries()) {
        expectSound(watches[index] as ReturnType<typeof watchAll>, result);
        expect({ status: result.status, errors: result.errors }).toEqual({ status: "completed", errors: [] });
        const datacenters = Object.keys(result.datacenters).length;
        const counted = result.workflows.find(({ workflow }) => workflow === "count");
        expect(counted?.totals.counters).toEqual({ units: 40 * datacenters });
      }
    });
  }
});
