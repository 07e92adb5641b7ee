import { tcpTransport } from "@holdfast/connection";
import { openPostgres } from "@holdfast/data";
import { createRegistry, createSqlJobStore, defineWorkflow } from "@holdfast/jobs";
import { createClient } from "@holdfast/jobs/client";
import { createGate } from "@holdfast/jobs/gate";
import { createManager } from "@holdfast/jobs/manager";
import { createWorker } from "@holdfast/jobs/worker";
import { silentLogger, systemClock, systemRandom } from "@holdfast/kernel";
import { reservePort, startPostgres, waitUntil } from "@holdfast/testkit";
import { z } from "zod";
import type { Bench, BenchResult } from "./measure/bench-result.ts";
import { median } from "./measure/median.ts";

const LEASE_MS = 3_000;
const KILLS = 5;
const TICK_MS = 20;

const base = {
  clock: systemClock,
  random: systemRandom,
  logger: silentLogger,
  transport: tcpTransport(),
  nodeLeaseMs: LEASE_MS,
};

interface Node extends AsyncDisposable {
  readonly nodeId: string;
  kill(): Promise<void>;
}

const ticking = defineWorkflow({
  name: "tick",
  input: z.object({}),
  timeoutMs: 600_000,
  run: async (ctx) => {
    for (let tick = 0; ; tick += 1) {
      await ctx.clock.sleep(TICK_MS, { signal: ctx.signal });
      ctx.log.info({ tick }, "tick");
    }
  },
});

const run = async (): Promise<readonly BenchResult[]> => {
  await using postgres = await startPostgres({ settings: { fsync: true } });
  await using sql = await openPostgres({ url: await postgres.createDatabase("ours") });
  const storeOf = (schema: string) =>
    createSqlJobStore({ sql, schema, clock: systemClock, logger: silentLogger });
  await using gateStore = await storeOf("gates");
  await using store = await storeOf("dc_east");
  const addresses = async (): Promise<readonly [string, string]> => {
    using one = await reservePort();
    using other = await reservePort();
    return [`127.0.0.1:${one.port}`, `127.0.0.1:${other.port}`];
  };
  const managers = await addresses();
  const gates = await addresses();
  const nodes = new Map<string, Node>();
  const start: Readonly<Record<string, () => Promise<Node>>> = Object.fromEntries([
    ...managers.map((listen, index) => {
      const nodeId = `manager-${index + 1}`;
      return [nodeId, () => createManager({ ...base, nodeId, datacenter: "east", listen, store })];
    }),
    ...gates.map((listen, index) => {
      const nodeId = `gate-${index + 1}`;
      const datacenters = { east: managers };
      return [nodeId, () => createGate({ ...base, nodeId, listen, store: gateStore, datacenters })];
    }),
  ]);
  for (const [nodeId, create] of Object.entries(start)) nodes.set(nodeId, await create());
  await using _nodes = {
    [Symbol.asyncDispose]: async () => {
      for (const node of nodes.values()) await node[Symbol.asyncDispose]();
    },
  };
  await using _worker = await createWorker({
    ...base,
    nodeId: "worker",
    datacenter: "east",
    managers,
    cores: 2,
    registry: createRegistry([ticking]),
  });
  await using client = createClient({ ...base, gates });
  const { jobId } = await client.submit({ workflows: [{ workflow: "tick", input: {} }], timeoutMs: 600_000 });

  const leaders = { gate: "", manager: "" };
  let lastEventAt = 0;
  let ticks = 0;
  let wrongCount = 0;
  const stop = new AbortController();
  const watching = (async () => {
    let last = 0n;
    for await (const item of client.watch(jobId, { signal: stop.signal })) {
      if (item.kind !== "event") continue;
      const offset = BigInt(item.position.offset);
      if (offset !== last + 1n) wrongCount += 1;
      last = offset;
      lastEventAt = performance.now();
      const { event } = item;
      if (event.type === "job.leader") leaders[event.role] = event.leader.nodeId;
      if (event.type === "log") ticks += 1;
    }
  })().catch((error: unknown) => {
    if (!stop.signal.aborted) throw error;
  });

  const killOnce = async (role: "gate" | "manager"): Promise<number> => {
    const before = ticks;
    await waitUntil("ticks", () => ticks > before + 20, { timeoutMs: 30_000 });
    const victim = leaders[role];
    const killedAt = performance.now();
    await nodes.get(victim)?.kill();
    const goneAt = performance.now();
    // What was on its way when it died does not count: the successor's first word does.
    await waitUntil("another leader", () => leaders[role] !== victim, { timeoutMs: 60_000 });
    const ms = lastEventAt - killedAt;
    if (goneAt - killedAt > 500) throw new Error("the kill itself took too long");
    nodes.set(victim, await (start[victim] as () => Promise<Node>)());
    return ms;
  };
  const times = { gate: [] as number[], manager: [] as number[] };
  for (let kill = 0; kill < KILLS; kill += 1) {
    times.gate.push(await killOnce("gate"));
    times.manager.push(await killOnce("manager"));
  }
  stop.abort(new Error("enough was seen"));
  await watching;
  if (wrongCount > 0) throw new Error(`${wrongCount} events were missed or came twice`);
  const leases = (ms: number): number => Math.round((ms / LEASE_MS) * 100) / 100;
  const figure = (role: "gate" | "manager"): BenchResult => ({
    unit: `leases from the kill of the leading ${role} to the next event at the client`,
    ours: leases(median(times[role])),
    peers: {},
    higherIsBetter: false,
    notes:
      `Median of ${KILLS} kills, longest ${leases(Math.max(...times[role]))}; a lease is ${LEASE_MS} ms. Two gates, two managers ` +
      "and a worker in one process over TCP, PostgreSQL flushing each commit; the killed node answers nothing any more and keeps its lease. " +
      "The watch missed and repeated nothing.",
  });
  return [figure("manager"), figure("gate")];
};

const bench: Bench = {
  name: "take-over",
  description: "How long is a job without news when its gate or its manager is killed?",
  run,
};

export default bench;
