import { createMemoryNetwork } from "@holdfast/connection";
import { type Clock, seededRandom, silentLogger } from "@holdfast/kernel";
import { VirtualClock } from "@holdfast/kernel/testing";
import type { JobEvent } from "@holdfast/protocol/contract";
import { describe, expect, it } from "vitest";
import { z } from "zod";
import { createClient } from "../src/client/index.ts";
import { createGate } from "../src/gate/index.ts";
import { createManager } from "../src/manager/index.ts";
import { defineWorkflow } from "../src/model/define-workflow.ts";
import { createMemoryJobStore } from "../src/model/job-store/index.ts";
import type { JobStore } from "../src/model/job-table.ts";
import { createRegistry } from "../src/model/registry.ts";
import { createWorker } from "../src/worker/index.ts";
import { settle } from "./settle.ts";

const HOUR_MS = 3_600_000;
const UNITS = 20;

/** The clock of a machine whose wall clock is wrong; its timers are right. */
class WrongClock implements Clock {
  offsetMs = 0;
  readonly #clock: Clock;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  wallNow(): number {
    return this.#clock.wallNow() + this.offsetMs;
  }

  monotonicNow(): number {
    return this.#clock.monotonicNow();
  }

  schedule(...args: Parameters<Clock["schedule"]>): ReturnType<Clock["schedule"]> {
    return this.#clock.schedule(...args);
  }

  sleep(...args: Parameters<Clock["sleep"]>): ReturnType<Clock["sleep"]> {
    return this.#clock.sleep(...args);
  }
}

const setUp = async () => {
  const clock = new VirtualClock();
  const network = createMemoryNetwork({ clock, latencyMs: 1 });
  const random = seededRandom(80);
  const storeOf = (seed: number) => createMemoryJobStore({ clock, random: seededRandom(seed) }) as JobStore;
  const clocks = new Map<string, WrongClock>();
  const base = (host: string) => {
    const own = new WrongClock(clock);
    clocks.set(host, own);
    return { clock: own, random, logger: silentLogger, transport: network, nodeId: host };
  };
  const registry = createRegistry([
    defineWorkflow({
      name: "steps",
      input: z.object({}),
      shards: 2,
      run: async ({ count, progress, signal }) => {
        for (let unit = 1; unit <= UNITS; unit += 1) {
          await clock.sleep(500, { signal });
          count("units");
          progress(unit, UNITS);
        }
        return null;
      },
    }),
  ]);
  const stores = { gates: storeOf(1), east: storeOf(2), west: storeOf(3) };
  const nodes: { stop(options: { readonly drainMs: number }): Promise<void> }[] = [];
  const datacenters: Record<string, string[]> = {};
  for (const datacenter of ["east", "west"] as const) {
    const managers = ["m1", "m2"].map((name) => `${datacenter}-${name}:7411`);
    datacenters[datacenter] = managers;
    for (const listen of managers) {
      const host = listen.slice(0, -5);
      const common = { ...base(host), datacenter, listen, store: stores[datacenter] };
      nodes.push(await settle(clock, createManager(common)));
    }
    const host = `${datacenter}-w1`;
    nodes.push(
      await settle(clock, createWorker({ ...base(host), datacenter, managers, cores: 4, registry })),
    );
  }
  for (const host of ["g1", "g2"]) {
    const listen = `${host}:7401`;
    nodes.push(
      await settle(
        clock,
        createGate({ ...base(host), listen, store: stores.gates, datacenters, rateLimits: "off" }),
      ),
    );
  }
  const client = createClient({ ...base("client"), gates: ["g1:7401", "g2:7401"], clientId: "client" });
  await clock.advance(2_000);
  return {
    clock,
    clocks,
    client,
    stores,
    [Symbol.asyncDispose]: async () => {
      await settle(clock, client.close());
      for (const node of nodes.reverse()) await settle(clock, node.stop({ drainMs: 0 }));
      for (const store of Object.values(stores)) await store[Symbol.asyncDispose]();
    },
  };
};

type Scene = Awaited<ReturnType<typeof setUp>>;

const submitAndFollow = async (t: Scene) => {
  const { jobId } = await settle(
    t.clock,
    t.client.submit({
      workflows: [{ workflow: "steps", input: {} }],
      datacenters: ["east", "west"],
      timeoutMs: 60_000,
    }),
  );
  const events: JobEvent[] = [];
  const offsets: bigint[] = [];
  const watch = (async () => {
    for await (const item of t.client.watch(jobId)) {
      if (item.kind !== "event") continue;
      offsets.push(BigInt(item.position.offset));
      events.push(item.event);
    }
  })();
  return { jobId, events, offsets, watch };
};

/** Done as if every clock were right: nobody lost a lease, nothing was counted twice, lost or out of order. */
const expectUndisturbed = async (
  t: Scene,
  job: Awaited<ReturnType<typeof submitAndFollow>>,
  leases: string[],
) => {
  await settle(t.clock, job.watch);
  const result = await settle(t.clock, t.client.result(job.jobId));
  expect(result).toMatchObject({ status: "completed", errors: [] });
  expect(result.workflows[0]?.totals.counters).toEqual({ units: 4 * UNITS });
  expect(job.offsets).toEqual(job.offsets.map((_, index) => BigInt(index + 1)));
  const windows = job.events.filter((event) => event.type === "window");
  const live = windows.reduce((sum, { counters }) => sum + (counters["units"] ?? 0), 0);
  expect(live).toBe(4 * UNITS);
  expect(job.events.filter((event) => event.type === "job.leader" && event.previous !== undefined)).toEqual(
    [],
  );
  expect(job.events.filter((event) => event.type === "shard.retry")).toEqual([]);
  expect(await leasesOf(t)).toEqual(leases);
};

const leasesOf = async (t: Scene): Promise<string[]> => {
  const lists = Object.values(t.stores).map((store) => store.coordination.leases.list("", { limit: 100 }));
  const infos = (await settle(t.clock, Promise.all(lists))).flat();
  return infos.map(({ name, owner, token }) => `${name} ${owner} ${token}`).sort();
};

describe("wall clocks that are wrong", () => {
  it("by 100 ms either way between datacenters break no lease, no window and no order", async () => {
    await using t = await setUp();
    for (const [host, clock] of t.clocks) clock.offsetMs = host.startsWith("east") ? 100 : -100;
    const leases = await leasesOf(t);
    await expectUndisturbed(t, await submitAndFollow(t), leases);
  });

  it.each([
    ["forward", HOUR_MS],
    ["back", -HOUR_MS],
  ])("and jump an hour %s in mid-run, on every node, break none either", async (_, jumpMs) => {
    await using t = await setUp();
    const leases = await leasesOf(t);
    const job = await submitAndFollow(t);
    for (const clock of t.clocks.values()) {
      await t.clock.advance(500);
      clock.offsetMs = jumpMs;
    }
    await expectUndisturbed(t, job, leases);
    // Nor do jobs that come afterwards run out of time at once, or live for ever.
    const next = await submitAndFollow(t);
    const submittedAt = t.clock.monotonicNow();
    await expectUndisturbed(t, next, leases);
    expect(t.clock.monotonicNow() - submittedAt).toBeLessThan(30_000);
  });
});
