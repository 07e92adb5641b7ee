// Gates, managers and workers as processes on hosts of their own, disturbed one by one, in pairs and as whole
// datacenters under a stream of jobs: killed, frozen beyond every lease, and cut off the network. Afterwards every
// promise is checked. Not a bench: it compares us with what we say.
import { setMaxListeners } from "node:events";
import { parseArgs } from "node:util";
import { tcpTransport } from "@holdfast/connection";
import { createClient } from "@holdfast/jobs/client";
import {
  hasCode,
  randomInt,
  seededRandom,
  silentLogger,
  systemClock,
  systemRandom,
  toWireError,
} from "@holdfast/kernel";
import { type JobsCluster, type Node, type NodeStats, withJobsCluster } from "./jobs-cluster.ts";
import { JobsLedger } from "./jobs-ledger.ts";

const { values: flags } = parseArgs({
  options: {
    minutes: { type: "string", default: "5" },
    seed: { type: "string", default: "1" },
    /** Jobs per second. */
    rate: { type: "string", default: "1" },
  },
});

const LEASE_MS = 5_000;
/** Beyond every lease: what a frozen or cut node held belongs to others when it comes back. */
const OUTAGE_MS = LEASE_MS + 3_000;
const RESTART_AFTER_MS = 2_000;
const CALM_MS = 6_000;
const SETTLE_LIMIT_MS = 180_000;
const CANCELLED_SHARE = 0.1;
const EFFECTS_TABLE =
  "create table soak_effects (job_id text not null, shard int not null, step int not null, fence text not null)";

const clock = systemClock;
const seed = Number(flags.seed);
const random = seededRandom(seed);
const pick = <T>(items: readonly T[]): T => items[randomInt(random, items.length)] as T;
const note = (what: object): void => console.log(JSON.stringify(what));

const KINDS = ["kill", "freeze", "cut"] as const;
type Kind = (typeof KINDS)[number];

/** Which nodes are disturbed together: mostly one, often two, now and then a whole datacenter. */
const chooseVictims = (cluster: JobsCluster): { readonly what: string; readonly nodes: readonly Node[] } => {
  const dice = random.next();
  if (dice < 0.12) {
    const datacenter = pick(cluster.datacenters);
    return { what: datacenter, nodes: cluster.nodes.filter((node) => node.datacenter === datacenter) };
  }
  const one = (): Node => {
    const role = pick(["gate", "manager", "worker"] as const);
    return pick(cluster.nodes.filter((node) => node.role === role));
  };
  const first = one();
  if (dice < 0.6) return { what: first.id, nodes: [first] };
  let second = one();
  while (second === first) second = one();
  return { what: `${first.id} and ${second.id}`, nodes: [first, second] };
};

const disturb = async (
  ledger: JobsLedger,
  node: Node,
  { kind, isWhole }: { readonly kind: Kind; readonly isWhole: boolean },
): Promise<void> => {
  ledger.disturbed({ nodeId: node.id, kind, isWhole, at: clock.monotonicNow() });
  if (kind === "kill") {
    await node.kill();
    await clock.sleep(RESTART_AFTER_MS);
    await node.start();
  } else if (kind === "freeze") {
    node.freeze();
    await clock.sleep(OUTAGE_MS);
    node.thaw();
  } else {
    node.host.cut();
    await clock.sleep(OUTAGE_MS);
    node.host.heal();
  }
};

const percentile = (values: readonly number[], share: number): number | undefined =>
  values.toSorted((a, b) => a - b)[Math.max(0, Math.ceil(share * values.length) - 1)];

const run = async (cluster: JobsCluster): Promise<number> => {
  const transport = tcpTransport();
  await using client = createClient({
    gates: cluster.gates,
    transport,
    clock,
    random: systemRandom,
    logger: silentLogger,
    deadlineMs: 60_000,
  });
  const ledger = new JobsLedger(client, clock);
  const stop = new AbortController();
  // Every watch listens to it.
  setMaxListeners(0, stop.signal);
  const startedAt = clock.monotonicNow();
  const endsAt = startedAt + Number(flags.minutes) * 60_000;
  const counts = { submitted: 0, refused: 0, faults: {} as Record<string, number> };
  const open = new Set<Promise<unknown>>();

  const submit = async (): Promise<void> => {
    counts.submitted += 1;
    const isCancelled = random.next() < CANCELLED_SHARE;
    const steps = 5 + randomInt(random, 40);
    const datacenterCount = 1 + randomInt(random, 2);
    try {
      const { jobId } = await client.submit({
        workflows: [{ workflow: "soak", input: { steps, stepMs: 100 }, dependsOn: [] }],
        datacenterCount,
        timeoutMs: 600_000,
      });
      ledger.accepted(jobId, { isCancelled, signal: stop.signal });
      if (!isCancelled) return;
      await clock.sleep(1_500);
      await client.cancel(jobId);
    } catch (error) {
      counts.refused += 1;
      note({ refused: toWireError(error).message });
    }
  };
  const submitting = (async () => {
    while (clock.monotonicNow() < endsAt) {
      const one = submit().finally(() => open.delete(one));
      open.add(one);
      await clock.sleep(1_000 / Number(flags.rate));
    }
  })();

  await clock.sleep(CALM_MS);
  while (clock.monotonicNow() < endsAt) {
    const { what, nodes } = chooseVictims(cluster);
    const kind = pick(KINDS);
    const name = `${kind} ${nodes.length > 2 ? "datacenter" : nodes.map(({ role }) => role).join("+")}`;
    counts.faults[name] = (counts.faults[name] ?? 0) + 1;
    note({
      at: Math.round((clock.monotonicNow() - startedAt) / 1_000),
      fault: kind,
      what,
      ended: ledger.endedCount,
    });
    await Promise.all(nodes.map((node) => disturb(ledger, node, { kind, isWhole: nodes.length > 2 })));
    await clock.sleep(CALM_MS);
  }
  await submitting;
  await Promise.all([...open]);
  const limit = clock.schedule(SETTLE_LIMIT_MS, () => stop.abort(new Error("it did not end in time")));
  await ledger.settled();
  limit.cancel();
  const { rowCount } = await ledger.check(cluster.databases);
  const clientStats = client.stats();
  await Promise.all(cluster.nodes.map((node) => node.stop()));
  const sumOf = (role: Node["role"], count: (stats: NodeStats) => number | undefined): number =>
    cluster.nodes.reduce(
      (sum, node) => sum + (node.role === role && node.stats !== undefined ? (count(node.stats) ?? 0) : 0),
      0,
    );
  const takeOverOf = (role: "gate" | "manager") => {
    const figuresOf = (values: readonly number[]) => ({
      count: values.length,
      p50Ms: Math.round(percentile(values, 0.5) ?? 0),
      p90Ms: Math.round(percentile(values, 0.9) ?? 0),
      maxMs: Math.round(percentile(values, 1) ?? 0),
    });
    const ofRole = ledger.takeOvers.filter((takeOver) => takeOver.role === role);
    const single = ofRole.filter(({ isWhole }) => !isWhole);
    const msOf = (kind: Kind) => single.filter((one) => one.kind === kind).map(({ ms }) => ms);
    const byKind = Object.fromEntries(KINDS.map((kind) => [kind, figuresOf(msOf(kind))]));
    const whole = ofRole.filter(({ isWhole }) => isWhole);
    return {
      ...figuresOf(single.map(({ ms }) => ms)),
      ...byKind,
      ...(whole.length === 0 ? {} : { afterWholeDatacenter: figuresOf(whole.map(({ ms }) => ms)) }),
    };
  };
  note({
    seed,
    minutes: Math.round((clock.monotonicNow() - startedAt) / 6_000) / 10,
    ...counts,
    accepted: ledger.acceptedCount,
    ended: ledger.countsByStatus(),
    events: ledger.eventCount,
    effectRows: rowCount,
    takeOver: { leaseMs: LEASE_MS, gate: takeOverOf("gate"), manager: takeOverOf("manager") },
    longestSilences: ledger.longestSilences,
    // Of the nodes as they ran at the end: what killed ones had counted is gone with them.
    refused: {
      jobsOfDeposedGates: sumOf("gate", ({ deposedJobs }) => deposedJobs),
      jobsOfDeposedManagers: sumOf("manager", ({ deposedJobs }) => deposedJobs),
      outcomesOfStaleClaims: sumOf("manager", ({ outcomes }) => outcomes?.stale),
      effectsOfStaleClaims: sumOf("worker", ({ refusedEffects }) => refusedEffects),
    },
    lapsedClaims: sumOf("manager", ({ lapsedClaims }) => lapsedClaims),
    leasesLost: cluster.warnings.get("the node's lease is lost; its jobs go to others") ?? 0,
    client: clientStats,
    violations: ledger.violations,
  });
  return ledger.violations.length === 0 ? 0 : 1;
};

try {
  const onProgress = (what: string): void => note({ doing: what });
  process.exitCode = await withJobsCluster({ onProgress, effectsTable: EFFECTS_TABLE }, run);
} catch (error) {
  if (hasCode(error, "ENOENT") || hasCode(error, "EACCES")) {
    console.error("the soak needs root and the `ip` command (iproute2)");
  }
  throw error;
}
