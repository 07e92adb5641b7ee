import { fileURLToPath } from "node:url";
import { tcpTransport } from "@holdfast/connection";
import type { Database } from "@holdfast/data";
import { createSqlJobStore } from "@holdfast/jobs";
import { createClient } from "@holdfast/jobs/client";
import { createGate } from "@holdfast/jobs/gate";
import { createManager } from "@holdfast/jobs/manager";
import { createWorker } from "@holdfast/jobs/worker";
import { silentLogger, systemClock, systemRandom } from "@holdfast/kernel";
import type { JobRunner } from "./job-runner.ts";

const NO_OP = fileURLToPath(new URL("./no-op.workflows.mjs", import.meta.url));

/** Where a cell is asked. */
export interface Cell extends AsyncDisposable {
  readonly gate: string;
}

/**
 * A gate, a manager and two workers with the settings of `holdfast dev`, each on TCP connections of its
 * own, on one database. Only the gate's rate limit is off: it is meant to stop one client from doing just this.
 */
export const openCell = async (
  database: Database,
  { modulePath }: { readonly modulePath: string },
): Promise<Cell> => {
  const undo: (() => Promise<void>)[] = [];
  const base = {
    clock: systemClock,
    random: systemRandom,
    logger: silentLogger,
    transport: tcpTransport(),
    listen: "127.0.0.1:0",
  };
  const storeOf = async (schema: string) => {
    const store = await createSqlJobStore({
      sql: database,
      schema,
      clock: systemClock,
      logger: silentLogger,
    });
    undo.push(async () => store[Symbol.asyncDispose]());
    return store;
  };
  const manager = await createManager({
    ...base,
    nodeId: "manager",
    datacenter: "local",
    store: await storeOf("dc_local"),
  });
  undo.push(() => manager.stop({ drainMs: 0 }));
  const gate = await createGate({
    ...base,
    nodeId: "gate",
    store: await storeOf("gate"),
    datacenters: { local: [manager.address] },
    rateLimits: "off",
  });
  undo.push(() => gate.stop({ drainMs: 0 }));
  for (const nodeId of ["worker-1", "worker-2"]) {
    const worker = await createWorker({
      ...base,
      nodeId,
      datacenter: "local",
      managers: [manager.address],
      cores: 2,
      modulePath,
    });
    undo.push(() => worker.stop({ drainMs: 0 }));
  }
  return {
    gate: gate.address,
    [Symbol.asyncDispose]: async () => {
      for (const step of undo.reverse()) await step();
    },
  };
};

/** A cell, and a client that runs no-op jobs in it. */
export const startCell = async (database: Database): Promise<JobRunner> => {
  const cell = await openCell(database, { modulePath: NO_OP });
  const client = createClient({
    gates: [cell.gate],
    transport: tcpTransport(),
    clock: systemClock,
    random: systemRandom,
    logger: silentLogger,
  });
  let number = 0;
  return {
    run: async () => {
      number += 1;
      const { jobId, status } = await client.run({ workflows: [{ workflow: "no-op", input: { number } }] });
      if (status !== "completed") throw new Error(`job ${jobId} ended as ${status}`);
    },
    [Symbol.asyncDispose]: async () => {
      await client.close();
      await cell[Symbol.asyncDispose]();
    },
  };
};
