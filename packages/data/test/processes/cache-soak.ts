// Reads and writes through the cache while Redis suffers, started by bench/soak/cache.mjs. The last line is the report as JSON.
import { parseArgs } from "node:util";
import { runWithFaults } from "../cache-fault-run.ts";

const { values } = parseArgs({
  options: {
    minutes: { type: "string", default: "10" },
    seed: { type: "string", default: "1" },
    redis: { type: "string", default: "both" },
  },
});
const endAt = performance.now() + Number(values.minutes) * 60_000;
const kinds = (["single", "sentinel"] as const).filter(
  (kind) => values.redis === "both" || values.redis === kind,
);
const total = { runs: 0, reads: 0, writes: 0, pending: 0, relayed: 0, refusedFills: 0, bypasses: 0 };
const faults: Record<string, number> = {};
const violations: object[] = [];

// Runs of at most a minute: each has new servers, and a seed that replays its plan of faults.
for (let seed = Number(values.seed); performance.now() < endAt; seed += 1) {
  for (const redis of kinds) {
    const seconds = Math.max(5, Math.min(60, (endAt - performance.now()) / 1_000));
    const report = await runWithFaults({ seed, seconds, redis });
    console.log(JSON.stringify({ ...report, seconds: Math.round(seconds) }));
    total.runs += 1;
    total.reads += report.readCount;
    total.writes += report.writeCount;
    total.pending += report.pendingCount;
    total.relayed += report.relayedCount;
    total.refusedFills += report.refusedFillCount;
    total.bypasses += report.bypassCount;
    for (const [name, count] of Object.entries(report.faults)) faults[name] = (faults[name] ?? 0) + count;
    for (const stale of report.staleReads) violations.push({ seed, redis, ...stale });
    for (const key of report.wrongAtEnd) violations.push({ seed, redis, wrongAtEnd: key });
  }
}
console.log(
  JSON.stringify({
    soak: "cache",
    seed: Number(values.seed),
    minutes: Number(values.minutes),
    ...total,
    faults,
    violations,
  }),
);
process.exitCode = violations.length === 0 ? 0 : 1;
