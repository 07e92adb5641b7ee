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

const modulePath = fileURLToPath(new URL("./no-op.workflows.mjs", import.meta.url));

/**
 * A gate, a manager, two workers and a client with the settings of `holdfast dev`, each on TCP connections of its
 * own, on one database. Only the gate's rate limit is off: it is meant to stop one client from doing just this.
 */
export const startCell = async (database: Database): Promise<JobRunner> => {
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
  const client = createClient({ ...base, gates: [gate.address] });
  undo.push(() => client.close());

  let number = 0;
  return {
    run: async () => {
      number += 1;
      const { jobId, status } = await client.run({ workflows: [{ workflow: "no-op", input: { number } }] });
      if (status !== "completed") throw new Error(`job ${jobId} ended as ${status}`);
    },
    [Symbol.asyncDispose]: async () => {
      for (const step of undo.reverse()) await step();
    },
  };
};
