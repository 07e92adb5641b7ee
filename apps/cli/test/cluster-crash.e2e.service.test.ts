import { countIndependently, dataSetPath } from "@holdfast/example-import/cities";
import { startTargetServer } from "@holdfast/example-load-test/target-server";
import type { JobResult } from "@holdfast/protocol/contract";
import {
  type ManagedProcess,
  type PostgresServer,
  reservePort,
  startPostgres,
  waitUntil,
} from "@holdfast/testkit";
import { describeService } from "@holdfast/testkit/vitest";
import { expect, it } from "vitest";
import {
  askHoldfast,
  leadersOf,
  offsetsOf,
  plannedRequests,
  startHoldfast,
  untilWatched,
  WORKFLOWS,
  watched,
} from "./holdfast-command.ts";

const DATACENTER = "east";
const READY_LIMIT_MS = 60_000;
const CORES = 4;
/** More than one worker has cores for: once all of them run, both workers have some. */
const SHARDS = 6;

/** A gate, two managers and two workers, each a process of its own, on one PostgreSQL. */
interface ClusterProcesses extends AsyncDisposable {
  readonly postgres: PostgresServer;
  readonly gate: string;
  readonly managers: ReadonlyMap<string, ManagedProcess>;
  readonly workers: ReadonlyMap<string, ManagedProcess>;
  killGate(): Promise<void>;
  startGate(): Promise<void>;
}

const startNode = async (
  role: string,
  args: readonly string[],
  database: string,
): Promise<ManagedProcess> => {
  const node = await startHoldfast([role, ...args, "--json"], { env: { HOLDFAST_DATABASE: database } });
  await node.waitForLine(/^\{"event":"ready"/, { timeoutMs: READY_LIMIT_MS });
  return node;
};

const startCluster = async (): Promise<ClusterProcesses> => {
  const started: (AsyncDisposable | Disposable)[] = [];
  const own = <T extends AsyncDisposable | Disposable>(part: T): T => {
    started.push(part);
    return part;
  };
  const stopAll = async (): Promise<void> => {
    for (let part = started.pop(); part !== undefined; part = started.pop()) {
      if (Symbol.asyncDispose in part) await part[Symbol.asyncDispose]();
      else part[Symbol.dispose]();
    }
  };
  try {
    const postgres = own(await startPostgres());
    const start = async (role: string, args: readonly string[]): Promise<ManagedProcess> =>
      own(await startNode(role, args, postgres.url));
    const place = ["--datacenter", DATACENTER];
    const managers = new Map<string, ManagedProcess>();
    const addresses: string[] = [];
    for (const id of ["manager-1", "manager-2"]) {
      const address = `127.0.0.1:${own(await reservePort()).port}`;
      addresses.push(address);
      managers.set(id, await start("manager", [...place, "--id", id, "--listen", address]));
    }
    const workers = new Map<string, ManagedProcess>();
    for (const id of ["worker-1", "worker-2"]) {
      const offer = ["--manager", addresses.join(","), "--workflows", WORKFLOWS, "--cores", String(CORES)];
      workers.set(id, await start("worker", [...place, "--id", id, ...offer]));
    }
    const gate = `127.0.0.1:${own(await reservePort()).port}`;
    const gateArgs = [
      "--id",
      "gate-1",
      "--listen",
      gate,
      "--datacenter",
      `${DATACENTER}=${addresses.join(",")}`,
    ];
    let gateProcess = await start("gate", gateArgs);
    return {
      postgres,
      gate,
      managers,
      workers,
      killGate: async () => {
        await gateProcess.kill("SIGKILL");
      },
      startGate: async () => {
        gateProcess = await start("gate", gateArgs);
      },
      [Symbol.asyncDispose]: stopAll,
    };
  } catch (error) {
    await stopAll();
    throw error;
  }
};

const newestLeader = (watch: ManagedProcess, role: "gate" | "manager"): string | undefined =>
  watched(watch)
    .flatMap(({ event }) =>
      event?.type === "job.leader" && event.role === role
        ? [(event.leader as { nodeId: string }).nodeId]
        : [],
    )
    .at(-1);

const untilLedAnew = (watch: ManagedProcess, role: "gate" | "manager", before: number): Promise<unknown> =>
  waitUntil(`another ${role} leading the job`, () => leadersOf(watch, role).length > before, {
    timeoutMs: 60_000,
  });

const pick = (processes: ReadonlyMap<string, ManagedProcess>, id: string): ManagedProcess => {
  const found = processes.get(id);
  if (found === undefined) throw new Error(`no process is called ${id}`);
  return found;
};

/**
 * Kills with -9, one after the other and each in the middle of the run: a worker that holds shards, the manager
 * that leads the job, and the gate (which comes back on its port; the other two stay dead).
 */
const killOneOfEach = async (cluster: ClusterProcesses, watch: ManagedProcess): Promise<void> => {
  // Read from the log, where nothing passes unseen: a question at a moment may come when the shards have ended.
  await untilWatched(
    watch,
    "more shards running than one worker has cores for",
    ({ event }) => event?.type === "window" && (event.shards as { running: number }).running > CORES,
  );
  const victim = "worker-1";
  await pick(cluster.workers, victim).kill("SIGKILL");
  await untilWatched(
    watch,
    "a shard of the dead worker going to the other one",
    ({ event }) => event?.type === "shard.retry" && event.worker === victim,
  );

  const managersBefore = leadersOf(watch, "manager").length;
  await pick(cluster.managers, newestLeader(watch, "manager") ?? "").kill("SIGKILL");
  await untilLedAnew(watch, "manager", managersBefore);

  const gatesBefore = leadersOf(watch, "gate").length;
  expect(watched(watch).some(({ event }) => event?.type === "job.result")).toBe(false);
  await cluster.killGate();
  await cluster.startGate();
  await untilLedAnew(watch, "gate", gatesBefore);
};

const ascending = (values: readonly bigint[]): boolean =>
  values.every((value, index) => index === 0 || value > (values[index - 1] ?? 0n));

/** Every event once and in order, one result, and each later leader under a larger fence. */
const expectWholeWatch = (watch: ManagedProcess): void => {
  const offsets = offsetsOf(watch);
  expect(offsets).toEqual(Array.from({ length: offsets.length }, (_, index) => index + 1));
  const results = watched(watch).filter(
    ({ event }) => event?.type === "job.result" && event.datacenter === undefined,
  );
  expect(results).toHaveLength(1);
  for (const role of ["gate", "manager"] as const) {
    const fences = leadersOf(watch, role).map(({ fence }) => fence);
    expect(fences.length).toBeGreaterThanOrEqual(2);
    expect(ascending(fences)).toBe(true);
  }
};

/** Runs a job to its end, watched, and kills one of each role once more than so many units are done; gives its id. */
const runThroughKills = async (
  cluster: ClusterProcesses,
  workflow: string,
  input: object,
  unitCount: number,
): Promise<string> => {
  const { gate } = cluster;
  const { jobId } = await askHoldfast<{ jobId: string }>([
    ...["submit", workflow, "--input", JSON.stringify(input)],
    ...["--gate", gate, "--wait", "60s"],
  ]);
  await using watch = await startHoldfast(["watch", jobId, "--json", "--gate", gate]);
  await untilWatched(
    watch,
    `more than ${unitCount} units done`,
    ({ event }) => event?.type === "window" && (event.progress as { done: number }).done > unitCount,
  );
  await killOneOfEach(cluster, watch);
  expect((await watch.closed).code).toBe(0);
  expectWholeWatch(watch);
  return jobId;
};

describeService(
  "postgres",
  "a cluster of processes on PostgreSQL, killed with -9 one after the other",
  () => {
    it("finishes the import though a worker, the leading manager and the gate die: every row once, the watch without a gap", async () => {
      await using cluster = await startCluster();
      const { gate } = cluster;
      const input = { shards: SHARDS, batchRows: 500, pauseMs: 300 };
      const jobId = await runThroughKills(cluster, "import", input, 2_000);

      const truth = await countIndependently(dataSetPath());
      const total = [...truth.values()].reduce((sum, count) => sum + count, 0);
      const result = await askHoldfast<JobResult>(["result", jobId, "--gate", gate]);
      expect(result.status).toBe("completed");
      expect(result.workflows.find(({ name }) => name === "import")?.outputs[0]).toMatchObject({
        cities: total,
        countries: truth.size,
      });
      const rows = await cluster.postgres.sql(
        `select country, count(*) from cities where job_id = '${jobId}' group by country`,
      );
      const counted = rows.split("\n").map((row): [string, number] => {
        const [country = "", count] = row.split("|");
        return [country, Number(count)];
      });
      expect(new Map(counted)).toEqual(truth);
    }, 240_000);

    it("finishes the load test though a worker, the leading manager and the gate die: every shard in the result once", async () => {
      await using cluster = await startCluster();
      const { gate } = cluster;
      const target = await startTargetServer({ port: 0 });
      try {
        const input = { url: target.url, ratePerSecond: 40, durationMs: 15_000, shards: SHARDS };
        const jobId = await runThroughKills(cluster, "load-test", input, 20);

        const result = await askHoldfast<JobResult>(["result", jobId, "--gate", gate]);
        expect(result.status).toBe("completed");
        expect(result.workflows[0]?.shards).toEqual({ total: SHARDS, completed: SHARDS, failed: 0 });
        // What counts is the attempt that completed, once for each shard, whatever the dead worker sent besides.
        expect(plannedRequests(result)).toBe(40 * 15);
        expect(target.counts.get(jobId)).toBeGreaterThan(40 * 15);
      } finally {
        await target.close();
      }
    }, 240_000);
  },
);
