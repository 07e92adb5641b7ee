import { connect, createMemoryNetwork } from "@holdfast/connection";
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
import { type SpokenVersion, speaking } from "./versioned-transport.ts";

/** Two minors apart, and a client that is older than both. */
const OLDER: SpokenVersion = {
  version: "1.4",
  lacks: ["jobs.submit-all", "worker.validate-all", "jobs.events-all"],
};
const NEWER: SpokenVersion = {
  version: "1.6",
  feature: "teleportation",
  adds: { hint: "a field of version 1.6", extras: { nested: [1, 2] } },
};
const OLD_CLIENT: SpokenVersion = { version: "1.2", omits: ["follow", "together"] };

interface Stoppable {
  stop(options: { readonly drainMs: number }): Promise<void>;
}

const SHARDS = 3;
const UNITS = 8;

const setUp = async () => {
  const clock = new VirtualClock();
  const network = createMemoryNetwork({ clock, latencyMs: 1 });
  const random = seededRandom(82);
  const storeOf = (seed: number) => createMemoryJobStore({ clock, random: seededRandom(seed) }) as JobStore;
  const stores = { gates: storeOf(1), east: storeOf(2) };
  const base = (spoken: SpokenVersion) => ({
    clock,
    random,
    logger: silentLogger,
    transport: speaking(network, spoken),
    version: spoken.version,
  });
  const gates = ["g1", "g2", "g3", "g4"].map((host) => `${host}:7401`);
  const managers = ["m1", "m2", "m3", "m4"].map((host) => `${host}:7411`);
  const registry = createRegistry([
    defineWorkflow({
      name: "steps",
      input: z.object({}),
      shards: SHARDS,
      run: async ({ count, progress, signal }) => {
        for (let unit = 1; unit <= UNITS; unit += 1) {
          await clock.sleep(100, { signal });
          count("units");
          progress(unit, UNITS);
        }
        return null;
      },
    }),
  ]);
  const running = new Map<string, Stoppable>();
  const start = {
    gate: (index: number, spoken: SpokenVersion) =>
      createGate({
        ...base(spoken),
        nodeId: `g${index}`,
        listen: gates[index - 1] as string,
        store: stores.gates,
        datacenters: { east: managers },
        rateLimits: "off",
      }),
    manager: (index: number, spoken: SpokenVersion) =>
      createManager({
        ...base(spoken),
        nodeId: `m${index}`,
        datacenter: "east",
        listen: managers[index - 1] as string,
        store: stores.east,
      }),
    worker: (index: number, spoken: SpokenVersion) =>
      createWorker({
        ...base(spoken),
        nodeId: `w${index}`,
        datacenter: "east",
        managers,
        cores: 6,
        registry,
      }),
  };
  const join = async (role: keyof typeof start, index: number, spoken: SpokenVersion): Promise<void> => {
    running.set(`${role} ${index}`, await settle(clock, start[role](index, spoken) as Promise<Stoppable>));
  };
  const leave = async (role: keyof typeof start, index: number): Promise<void> => {
    const node = running.get(`${role} ${index}`);
    running.delete(`${role} ${index}`);
    await settle(clock, node?.stop({ drainMs: 10_000 }) ?? Promise.resolve());
  };
  const clients: JobsClient[] = [];
  const newClient = (clientId: string, spoken: SpokenVersion): JobsClient => {
    const client = createClient({ ...base(spoken), gates, clientId });
    clients.push(client);
    return client;
  };
  return {
    clock,
    network,
    random,
    gates,
    managers,
    join,
    leave,
    newClient,
    [Symbol.asyncDispose]: async () => {
      for (const client of clients) await settle(clock, client.close());
      for (const node of [...running.values()].reverse()) await settle(clock, node.stop({ drainMs: 0 }));
      for (const store of Object.values(stores)) await store[Symbol.asyncDispose]();
    },
  };
};

describe("a rolling upgrade", () => {
  it("loses no job and no event while every node gives way to one of two minors later, for an older client and a newer one", async () => {
    await using t = await setUp();
    for (const role of ["manager", "worker", "gate"] as const) {
      for (const index of [1, 2]) await t.join(role, index, OLDER);
    }
    await t.clock.advance(2_000);
    const clients = [t.newClient("older", OLD_CLIENT), t.newClient("newer", NEWER)];
    let isOver = false;
    const ends: Promise<void>[] = [];
    const wrongs: string[] = [];
    let submitted = 0;
    const follow = async (client: JobsClient, jobId: string): Promise<void> => {
      let last = 0n;
      for await (const item of client.watch(jobId)) {
        if (item.kind === "reset") wrongs.push(`${jobId}: reset`);
        if (item.kind !== "event") continue;
        const offset = BigInt(item.position.offset);
        if (offset !== last + 1n) wrongs.push(`${jobId}: ${offset} after ${last}`);
        last = offset;
      }
      const { status, workflows, errors } = await client.result(jobId);
      const units = workflows[0]?.totals.counters["units"];
      if (status !== "completed" || units !== SHARDS * UNITS) {
        wrongs.push(`${jobId}: ${status} with ${units} units; ${errors.join("; ")}`);
      }
    };
    const submitting = (async () => {
      while (!isOver) {
        for (const client of clients) {
          const { jobId } = await client.submit({ workflows: [{ workflow: "steps", input: {} }] });
          submitted += 1;
          ends.push(follow(client, jobId));
        }
        await t.clock.sleep(300);
      }
    })();
    submitting.catch((error: unknown) => wrongs.push(String(error)));

    await t.clock.advance(1_000);
    for (const role of ["worker", "manager", "gate"] as const) {
      for (const index of [1, 2]) {
        await t.join(role, index + 2, NEWER);
        await t.clock.advance(700);
        await t.leave(role, index);
        await t.clock.advance(700);
      }
    }
    const view = await settle(t.clock, (clients[0] as JobsClient).cluster());
    expect(view.node).toMatchObject({ nodeId: expect.stringMatching(/^g[34]$/), version: "1.6" });
    const [east] = view.datacenters;
    const alive = east?.managers.filter(({ state }) => state === "active").map(({ nodeId }) => nodeId);
    expect(alive?.toSorted()).toEqual(["m3", "m4"]);
    expect(east?.workers.map(({ nodeId }) => nodeId).toSorted()).toEqual(["w3", "w4"]);
    isOver = true;
    await settle(t.clock, submitting);
    await settle(t.clock, Promise.all(ends));
    expect(wrongs).toEqual([]);
    expect(submitted).toBeGreaterThan(20);
  });

  it("is refused to another major version, of every role, with the one that is required", async () => {
    await using t = await setUp();
    await t.join("manager", 1, OLDER);
    await t.join("gate", 1, NEWER);
    await t.clock.advance(1_000);
    const next = speaking(t.network, { version: "2.0" });
    for (const address of [t.gates[0], t.managers[0]]) {
      for (const role of ["client", "gate", "manager", "worker"]) {
        const asked = connect({
          address: address as string,
          transport: next,
          clock: t.clock,
          random: t.random,
          identity: { nodeId: "next", role },
        });
        const refusal = await settle(t.clock, asked).catch((error: unknown) => error);
        expect(refusal).toMatchObject({ code: "PROTOCOL_VERSION_MISMATCH", details: { requiredMajor: 1 } });
        expect(String(refusal)).toContain("major version 1 is required");
      }
    }
    const client = t.newClient("next", { version: "2.0" });
    const submitted = client.submit({ workflows: [{ workflow: "steps", input: {} }] });
    await expect(settle(t.clock, submitted)).rejects.toMatchObject({
      code: "PROTOCOL_VERSION_MISMATCH",
      retryable: false,
      details: { requiredMajor: 1 },
    });
  });
});
