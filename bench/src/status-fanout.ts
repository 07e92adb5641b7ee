import { type ChildProcess, fork } from "node:child_process";
import { fileURLToPath } from "node:url";
import { tcpTransport } from "@holdfast/connection";
import { openPostgres } from "@holdfast/data";
import { createClient } from "@holdfast/jobs/client";
import { startPostgres } from "@holdfast/testkit";
import type { Bench, BenchResult } from "./measure/bench-result.ts";
import { openCell } from "./submit/our-cell.ts";

const WATCHERS = fileURLToPath(new URL("./status-fanout/watchers.mjs", import.meta.url));
const WORKFLOWS = fileURLToPath(new URL("./status-fanout/talk.workflows.mjs", import.meta.url));
const WATCHER_COUNT = 1_000;
const SECONDS = 8;

interface Seen {
  readonly eventCount: number;
  readonly wrongCount: number;
  readonly tookMs: number;
  readonly lagP99Ms: number;
  readonly spreadP99Ms: number;
}

const nextMessage = <T>(child: ChildProcess): Promise<T> =>
  new Promise((resolve, reject) => {
    child.once("message", (message) => resolve(message as T));
    child.once("exit", (code) => reject(new Error(`the watchers ended with ${code}`)));
  });

const run = async (): Promise<readonly BenchResult[]> => {
  await using postgres = await startPostgres({ settings: { fsync: true } });
  await using database = await openPostgres({ url: await postgres.createDatabase("ours") });
  await using cell = await openCell(database, { modulePath: WORKFLOWS });
  await using client = createClient({ gates: [cell.gate], transport: tcpTransport() });

  const measure = async (linesPerSecond: number): Promise<Seen & { readonly gateCpuMs: number }> => {
    const { jobId } = await client.submit({
      workflows: [
        // Waits until everybody watches.
        { workflow: "talk", name: "first", input: { linesPerSecond: 1, seconds: 8 } },
        { workflow: "talk", name: "talk", input: { linesPerSecond, seconds: SECONDS }, dependsOn: ["first"] },
      ],
    });
    const child = fork(WATCHERS, [cell.gate, jobId, String(WATCHER_COUNT)], { execArgv: [] });
    await nextMessage(child);
    const before = process.cpuUsage();
    const seen = await nextMessage<Seen>(child);
    const { user, system } = process.cpuUsage(before);
    if (seen.wrongCount > 0) throw new Error(`${seen.wrongCount} events were missed or came twice`);
    return { ...seen, gateCpuMs: (user + system) / 1_000 };
  };
  const calm = await measure(10);
  const busy = await measure(190);
  const perSecond = Math.round((busy.eventCount / busy.tookMs) * 1_000);
  const conditions =
    `One job, ${WATCHER_COUNT} watchers with a connection each in another process, PostgreSQL flushing each commit; ` +
    "gate, manager, workers in this one. Every watcher had every event once and in order. " +
    "The watchers are whole clients: on few processors it is their process that limits the rate and makes the lag, so look at the gate's processor time for a push. ";
  return [
    {
      unit: "ms from the worker's line to the watcher, p99, 10 lines a second",
      ours: calm.lagP99Ms,
      peers: {},
      higherIsBetter: false,
      notes: `${conditions}Lines travel with the progress of their shard: every 250 ms to the manager, which gathers them for 250 ms. Between the first and the last of the watchers: ${calm.spreadP99Ms} ms (p99).`,
    },
    {
      unit: "status pushes/s through one gate",
      ours: perSecond,
      peers: {},
      higherIsBetter: true,
      notes: `${conditions}190 lines a second (the bound of a job is 200). Lag p99 ${busy.lagP99Ms} ms; between the first and the last of the watchers ${busy.spreadP99Ms} ms (p99); ${((busy.gateCpuMs * 1_000) / busy.eventCount).toFixed(1)} µs of processor time for a push, with everything that brings it to the gate.`,
    },
  ];
};

const bench: Bench = {
  name: "status-fanout",
  description: "How many status pushes a second go through a gate to a thousand watchers, and how late?",
  run,
};

export default bench;
