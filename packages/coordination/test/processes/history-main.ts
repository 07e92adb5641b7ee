// Runs histories one after the other until the time is over: node … history-main.ts --minutes N --seed S
// [--workers W]. Prints what it sees of each seed on stderr, and one JSON line at the end on stdout.
import { parseArgs } from "node:util";
import { type HistoryReport, runHistory } from "../histories/run-history.ts";

const { values } = parseArgs({
  options: {
    minutes: { type: "string", default: "30" },
    seed: { type: "string", default: "1" },
    workers: { type: "string", default: "50" },
    "worker-bundle": { type: "string" },
  },
});
const minutes = Number(values.minutes);
const workerCount = Number(values.workers);
const endsAt = performance.now() + minutes * 60_000;
const reports: HistoryReport[] = [];
const failures: { readonly seed: number; readonly error: string }[] = [];
for (
  let seed = Number(values.seed);
  reports.length + failures.length === 0 || performance.now() < endsAt;
  seed += 1
) {
  const leftMs = Math.max(5000, endsAt - performance.now());
  try {
    const report = await runHistory({
      seed,
      // Several seeds in a long run, each long enough for every fault.
      durationMs: Math.min(leftMs, Math.max(20_000, (minutes * 60_000) / 3)),
      workerCount,
      // Every other history has a Redis that fails over, and loses what its replica was not told.
      hasFailovers: seed % 2 === 0,
      lanes: 1,
      workerBundle: values["worker-bundle"],
      faultEveryMs: 1000,
      onProgress: (line) => process.stderr.write(`${line}\n`),
    });
    reports.push(report);
    process.stderr.write(`${JSON.stringify(report)}\n`);
  } catch (error) {
    failures.push({ seed, error: error instanceof Error ? (error.stack ?? error.message) : String(error) });
    process.stderr.write(`seed ${seed}: ${String(error)}\n`);
    if (failures.length > 3) break;
  }
}
const sum = (pick: (report: HistoryReport) => Readonly<Record<string, number>>): Record<string, number> => {
  const total: Record<string, number> = {};
  for (const report of reports) {
    for (const [name, count] of Object.entries(pick(report))) total[name] = (total[name] ?? 0) + count;
  }
  return total;
};
const violations = reports.flatMap(({ seed, violations: all }) => all.map((each) => ({ seed, ...each })));
console.log(
  JSON.stringify({
    seeds: reports.map(({ seed }) => seed),
    seconds: reports.reduce((total, { seconds }) => total + seconds, 0),
    contenders: workerCount,
    processes: reports.reduce((total, { workers }) => total + workers, 0),
    faults: sum(({ faults }) => faults),
    counts: sum(({ counts }) => counts),
    violations,
    surprises: reports.flatMap(({ surprises }) => surprises).slice(0, 20),
    failures,
  }),
);
process.exit(violations.length + failures.length > 0 ? 1 : 0);
