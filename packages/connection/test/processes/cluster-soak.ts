// Laps of faults on a cluster under load until the minutes are over. A line of JSON for each lap, then the report.
import { parseArgs } from "node:util";
import { systemClock } from "@holdfast/kernel";
import { type ClusterSoakReport, soakCluster } from "../soak/cluster-soak.ts";

const { values } = parseArgs({
  options: {
    minutes: { type: "string", default: "5" },
    seed: { type: "string", default: "1" },
    rate: { type: "string", default: "200" },
  },
});
const seed = Number(values.seed);
const endsAt = systemClock.monotonicNow() + Number(values.minutes) * 60_000;

/** What was promised and not kept. */
const brokenIn = ({ deadlineMs, faults, reads, writes }: ClusterSoakReport): readonly string[] => [
  ...(reads.answeredCount < reads.askedCount ? [`reads were lost: ${JSON.stringify(reads.failures)}`] : []),
  ...(reads.hungCount + writes.hungCount > 0 ? ["requests ended after their deadline"] : []),
  ...(writes.doubledCount > 0 ? [`${writes.doubledCount} writes were carried out twice`] : []),
  ...faults
    .filter(({ nodeCount, p99Ms }) => nodeCount === 1 && p99Ms > deadlineMs)
    .map(({ fault, p99Ms }) => `p99 of ${p99Ms} ms while one node suffered ${fault}`),
  ...faults
    .filter(({ returnMs }) => !Number.isFinite(returnMs))
    .map(({ fault }) => `no load came back after ${fault}`),
];

const laps: ClusterSoakReport[] = [];
do {
  const report = await soakCluster({
    seed: seed + laps.length,
    lapCount: 1,
    faultMs: 2_000,
    rate: Number(values.rate),
    deadlineMs: 2_000,
  });
  laps.push(report);
  console.log(JSON.stringify({ lap: laps.length, broken: brokenIn(report), ...report }));
} while (systemClock.monotonicNow() < endsAt);

const sum = (value: (lap: ClusterSoakReport) => number): number =>
  laps.reduce((total, lap) => total + value(lap), 0);
const worst = (value: (lap: ClusterSoakReport) => number): number => Math.max(...laps.map(value));
const worstOf = (nodeCount: number): Readonly<Record<string, object>> =>
  Object.fromEntries(
    (laps[0]?.faults ?? [])
      .filter((fault) => fault.nodeCount === nodeCount)
      .map(({ fault: name }) => {
        const same = laps.flatMap(({ faults }) =>
          faults.filter(({ fault, nodeCount: count }) => fault === name && count === nodeCount),
        );
        return [
          name,
          {
            p99Ms: Math.max(...same.map(({ p99Ms }) => p99Ms)),
            maxMs: Math.max(...same.map(({ maxMs }) => maxMs)),
            returnMs: Math.max(...same.map(({ returnMs }) => returnMs)),
          },
        ];
      }),
  );
const broken = laps.flatMap(brokenIn);
console.log(
  JSON.stringify({
    seed,
    minutes: Math.round(sum(({ seconds }) => seconds) / 6) / 10,
    laps: laps.length,
    reads: sum(({ reads }) => reads.askedCount),
    readsLost: sum(({ reads }) => reads.askedCount - reads.answeredCount),
    writes: sum(({ writes }) => writes.askedCount),
    writesDoubled: sum(({ writes }) => writes.doubledCount),
    hung: sum(({ reads, writes }) => reads.hungCount + writes.hungCount),
    deadlineMs: worst(({ deadlineMs }) => deadlineMs),
    p99Ms: worst(({ reads }) => reads.p99Ms),
    maxMs: worst(({ reads }) => reads.maxMs),
    oneNode: worstOf(1),
    twoNodes: worstOf(2),
    retries: sum(({ retryCount }) => retryCount),
    ejections: sum(({ ejectedCount }) => ejectedCount),
    broken,
  }),
);
process.exitCode = broken.length === 0 ? 0 : 1;
