// Runs many jobs of many workflows through a gate, a manager, two workers and a console in this process, on a
// PostgreSQL of its own, and looks at what stays behind. Not a bench: it compares us with what we say.
import { parseArgs } from "node:util";
import { tcpTransport } from "@holdfast/connection";
import { startConsole } from "@holdfast/console";
import { openPostgres } from "@holdfast/data";
import { createRegistry, createSqlJobStore, defineWorkflow } from "@holdfast/jobs";
import { createClient, type JobsClient } from "@holdfast/jobs/client";
import { createGate } from "@holdfast/jobs/gate";
import { createManager } from "@holdfast/jobs/manager";
import { createWorker } from "@holdfast/jobs/worker";
import { silentLogger, systemClock, systemRandom } from "@holdfast/kernel";
import { startPostgres } from "@holdfast/testkit";
import { z } from "zod";

const { values: flags } = parseArgs({
  options: { jobs: { type: "string", default: "1000" }, laps: { type: "string", default: "10" } },
});
const JOBS = Number(flags.jobs);
const LAPS = Number(flags.laps);
const WORKFLOWS_PER_JOB = 10;
const IN_FLIGHT = 10;
/** The heap may grow by so much from the middle of the run to its end: small caches that are bounded fill up. */
const GROWTH_MAX_BYTES = 8 * 1024 * 1024;
const CONSOLE_EVERY_MS = 250;
const KINDS = ["Timeout", "TCPSocketWrap", "TCPServerWrap"];

const base = { clock: systemClock, random: systemRandom, logger: silentLogger, transport: tcpTransport() };
const note = (what: object): void => console.log(JSON.stringify(what));

const step = defineWorkflow({
  name: "step",
  input: z.object({ index: z.number() }),
  run: async (ctx) => {
    ctx.count("steps");
    ctx.record("index", ctx.input.index + 1);
    return { index: ctx.input.index };
  },
});

/** Ten workflows, each but the first waiting for one before it: a tree with two branches at every knot. */
const workflowsOf = () =>
  Array.from({ length: WORKFLOWS_PER_JOB }, (_, index) => ({
    workflow: "step",
    name: `step-${index}`,
    input: { index },
    dependsOn: index === 0 ? [] : [`step-${Math.floor((index - 1) / 2)}`],
  }));

const runJobs = async (client: JobsClient, count: number): Promise<number> => {
  let left = count;
  let wrong = 0;
  const lane = async (): Promise<void> => {
    while (left > 0) {
      left -= 1;
      const result = await client.run({ workflows: workflowsOf() });
      const steps = result.workflows.reduce((sum, { totals }) => sum + (totals.counters["steps"] ?? 0), 0);
      if (result.status !== "completed" || steps !== WORKFLOWS_PER_JOB) wrong += 1;
    }
  };
  await Promise.all(Array.from({ length: IN_FLIGHT }, lane));
  return wrong;
};

const resources = (): Readonly<Record<string, number>> => {
  const all = process.getActiveResourcesInfo();
  return Object.fromEntries(KINDS.map((kind) => [kind, all.filter((one) => one === kind).length]));
};

/** Like a person who keeps the list and the cluster open. */
const useConsole = (url: string) => {
  const stop = new AbortController();
  const tookMs: number[] = [];
  let failedCount = 0;
  const done = (async () => {
    while (!stop.signal.aborted) {
      for (const path of ["/api/jobs?limit=50", "/api/cluster"]) {
        const startedAt = performance.now();
        const response = await fetch(`${url}${path}`, { signal: AbortSignal.timeout(30_000) }).catch(
          () => undefined,
        );
        await response?.arrayBuffer();
        if (response?.status !== 200) failedCount += 1;
        else tookMs.push(performance.now() - startedAt);
      }
      await systemClock.sleep(CONSOLE_EVERY_MS, { signal: stop.signal }).catch(() => undefined);
    }
  })();
  return async () => {
    stop.abort(new Error("enough"));
    await done;
    const sorted = tookMs.toSorted((a, b) => a - b);
    const at = (share: number): number => Math.round(sorted[Math.floor((sorted.length - 1) * share)] ?? 0);
    return { requests: sorted.length, failed: failedCount, p50Ms: at(0.5), p99Ms: at(0.99), maxMs: at(1) };
  };
};

const run = async (): Promise<readonly string[]> => {
  await using postgres = await startPostgres();
  const broken: string[] = [];
  {
    await using sql = await openPostgres({ url: await postgres.createDatabase("many") });
    const storeOf = (schema: string) =>
      createSqlJobStore({ sql, schema, clock: systemClock, logger: silentLogger });
    await using managerStore = await storeOf("dc_local");
    await using gateStore = await storeOf("gate");
    const node = { ...base, listen: "127.0.0.1:0" };
    await using manager = await createManager({
      ...node,
      nodeId: "manager",
      datacenter: "local",
      store: managerStore,
    });
    await using gate = await createGate({
      ...node,
      nodeId: "gate",
      store: gateStore,
      datacenters: { local: [manager.address] },
      rateLimits: "off",
    });
    const registry = createRegistry([step]);
    const worker = (nodeId: string) =>
      createWorker({ ...base, nodeId, datacenter: "local", managers: [manager.address], cores: 4, registry });
    await using _one = await worker("worker-1");
    await using _two = await worker("worker-2");
    await using client = createClient({ ...base, gates: [gate.address] });
    const consoleServer = await startConsole({ ...base, client, listen: "127.0.0.1:0" });
    const stopUsing = useConsole(consoleServer.url);

    const laps: { readonly heapBytes: number; readonly resources: Readonly<Record<string, number>> }[] = [];
    const startedAt = performance.now();
    for (let lap = 1; lap <= LAPS; lap += 1) {
      const wrong = await runJobs(client, JOBS / LAPS);
      if (wrong > 0) broken.push(`${wrong} jobs of lap ${lap} did not complete with all their parts`);
      // Timers of answered requests may still be in the line that drops them.
      await systemClock.sleep(1_500);
      globalThis.gc?.();
      const now = { heapBytes: process.memoryUsage().heapUsed, resources: resources() };
      laps.push(now);
      note({
        lap,
        jobs: (lap * JOBS) / LAPS,
        heapMb: Math.round(now.heapBytes / 1e5) / 10,
        ...now.resources,
      });
    }
    const seconds = Math.round((performance.now() - startedAt) / 100) / 10;
    const consoleSeen = await stopUsing();
    if (consoleSeen.failed > 0) broken.push(`${consoleSeen.failed} requests of the console failed`);
    const middle = laps[Math.floor(LAPS / 2) - 1] ?? laps[0];
    const last = laps.at(-1);
    const growthBytes = (last?.heapBytes ?? 0) - (middle?.heapBytes ?? 0);
    if (growthBytes > GROWTH_MAX_BYTES)
      broken.push(`the heap grew by ${growthBytes} bytes in the second half`);
    for (const kind of KINDS) {
      const more = (last?.resources[kind] ?? 0) - (middle?.resources[kind] ?? 0);
      // A sweep or a request that is under way in that moment is no leak; one for every fifty jobs is.
      if (more > Math.max(10, JOBS / 100)) broken.push(`${more} more ${kind} in the second half`);
    }
    const left = {
      leases: (
        await Promise.all([gateStore, managerStore].map((store) => store.coordination.leases.list("")))
      ).flat().length,
      tasks: await managerStore.coordination.queue("shards").stats(),
    };
    // Each node has its own lease and leads alone.
    if (left.leases !== 4) broken.push(`${left.leases} leases instead of 4`);
    const open = left.tasks.pending + left.tasks.claimed + left.tasks.delayed;
    if (open > 0) broken.push(`${open} tasks are still open`);
    await consoleServer.close();
    note({
      jobs: JOBS,
      workflows: JOBS * WORKFLOWS_PER_JOB,
      seconds,
      heapMb: laps.map(({ heapBytes }) => Math.round(heapBytes / 1e5) / 10),
      growthInSecondHalfMb: Math.round(growthBytes / 1e5) / 10,
      resources: { middle: middle?.resources, last: last?.resources },
      leases: left.leases,
      openTasks: open,
      console: consoleSeen,
      gate: gate.stats(),
      manager: manager.stats(),
    });
  }
  await systemClock.sleep(500);
  const after = resources();
  note({ afterStopping: after });
  for (const kind of ["TCPSocketWrap", "TCPServerWrap"]) {
    if ((after[kind] ?? 0) > 0) broken.push(`${after[kind]} ${kind} are open after everything was stopped`);
  }
  return broken;
};

const broken = await run();
note({ broken });
process.exitCode = broken.length === 0 ? 0 : 1;
