// Many failovers under a write load, started by bench/soak/failover.mjs. The last line is the report as JSON.
import { parseArgs } from "node:util";
import { seededRandom } from "@holdfast/kernel";
import { serviceUnavailable } from "@holdfast/testkit";
import { FAULTS, FaultyCluster } from "../failover/faulty-cluster.ts";
import { Ledger } from "../failover/ledger.ts";
import {
  cutOff,
  type FailoverRecord,
  failOver,
  faultPlan,
  type SwitchoverRecord,
  switchOver,
} from "../failover/run-failovers.ts";

const { values } = parseArgs({
  options: {
    failovers: { type: "string", default: "50" },
    minutes: { type: "string", default: "60" },
    seed: { type: "string", default: "1" },
    workers: { type: "string", default: "6" },
    fault: { type: "string" },
    switchovers: { type: "string", default: "20" },
  },
});
const failovers = Number(values.failovers);
const endAt = performance.now() + Number(values.minutes) * 60_000;
const random = seededRandom(Number(values.seed));
const ttl = 5;
/**
 * Room for the data and its log, and for what a node that is rebuilt needs besides. A little load between two failovers
 * leaves the last file of each timeline there.
 */
const diskMiB = 768 + 16 * failovers;
/** After so many failovers clients lose a leader that is well. */
const CUT_OFF_EVERY = 5;

const percentile = (sorted: readonly number[], part: number): number =>
  Math.round(sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * part))] ?? Number.NaN);

const noDisk = serviceUnavailable("small-disk");
const kinds = FAULTS.filter((fault) => fault !== "full disk" || noDisk === undefined);
await using cluster = await FaultyCluster.start({
  ttl,
  ...(noDisk === undefined ? { diskMiB, settings: { max_wal_size: "128MB" } } : {}),
});
await using database = await cluster.open();
const ledger = new Ledger(database, random);
await ledger.start(Number(values.workers));
const records: FailoverRecord[] = [];
let problem: string | undefined;
const resumedAfterMs: number[] = [];
const plan = faultPlan(failovers, random, kinds).map(
  (fault) => FAULTS.find((each) => each === values.fault) ?? fault,
);
for (const fault of plan) {
  if (performance.now() >= endAt) break;
  try {
    const record = await failOver(cluster, database, ledger, fault);
    records.push(record);
    if (records.length % CUT_OFF_EVERY === 0)
      resumedAfterMs.push((await cutOff(cluster, database, ledger)).resumedAfterMs);
    console.log(
      JSON.stringify({ failover: records.length, ...record, outageMs: Math.round(record.outageMs) }),
    );
  } catch (error) {
    problem = `failover ${records.length + 1} (${fault}): ${(error as Error).message}`;
    console.log(JSON.stringify({ problem, status: database.status().condition }));
    for (const node of cluster.servers.nodes) {
      const said = await node.ask("/cluster").then(
        (answer) => answer.text(),
        (failure: Error) => failure.message,
      );
      console.error(`${node.name}: ${said}\n${node.log.split("\n").slice(-40).join("\n")}`);
    }
    break;
  }
}
const switchovers: SwitchoverRecord[] = [];
while (problem === undefined && switchovers.length < Number(values.switchovers)) {
  try {
    const record = await switchOver(cluster, database, ledger);
    switchovers.push(record);
    console.log(
      JSON.stringify({ switchover: switchovers.length, ...record, pauseMs: Math.round(record.pauseMs) }),
    );
  } catch (error) {
    problem = `switchover ${switchovers.length + 1}: ${(error as Error).message}`;
  }
}
await cluster.untilReady().catch(() => undefined);
const counts = await ledger.finish();
const outages = records.map(({ outageMs }) => outageMs).sort((a, b) => a - b);
const pauses = switchovers.map(({ pauseMs }) => pauseMs).sort((a, b) => a - b);
const failedInSwitchovers = switchovers.reduce((sum, { failedCount }) => sum + failedCount, 0);
const history = await database.history();
const report = {
  failovers: records.length,
  seed: Number(values.seed),
  keyLifetimeMs: ttl * 1_000,
  outageMs: { p50: percentile(outages, 0.5), p90: percentile(outages, 0.9), max: percentile(outages, 1) },
  outageP50MsByFault: Object.fromEntries(
    kinds.map((fault) => {
      const of = records.filter((record) => record.fault === fault).map(({ outageMs }) => outageMs);
      return [
        fault,
        percentile(
          of.sort((a, b) => a - b),
          0.5,
        ),
      ];
    }),
  ),
  switchovers: switchovers.length,
  switchoverPauseMs: { p50: percentile(pauses, 0.5), max: percentile(pauses, 1) },
  failedInSwitchovers,
  cutsFromClients: resumedAfterMs.length,
  resumedAfterCutMaxMs: Math.round(Math.max(0, ...resumedAfterMs)),
  ...(noDisk === undefined ? {} : { leftOut: `full disk: ${noDisk}` }),
  ...counts,
  lostWrites: ledger.violations.filter(({ kind }) => kind === "acknowledged write lost").length,
  violations: ledger.violations.slice(0, 20),
  timelines: history.length + 1,
  rebuiltNodes: cluster.rebuiltCount,
  ...(problem === undefined ? {} : { problem }),
};
console.log(JSON.stringify(report));
process.exitCode =
  ledger.violations.length === 0 && failedInSwitchovers === 0 && problem === undefined ? 0 : 1;
