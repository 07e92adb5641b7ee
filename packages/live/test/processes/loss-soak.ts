// Publishes and breaks things for as long as one likes, started by bench/soak/live.mjs. The last line is the report as JSON.
import { parseArgs } from "node:util";
import { runWithLosses } from "../loss-run.ts";

const { values } = parseArgs({
  options: {
    minutes: { type: "string", default: "10" },
    seed: { type: "string", default: "1" },
    clients: { type: "string", default: "200" },
    channels: { type: "string", default: "50" },
    servers: { type: "string", default: "3" },
  },
});
const minutes = Number(values.minutes);
const report = await runWithLosses({
  seed: Number(values.seed),
  seconds: minutes * 60,
  clientCount: Number(values.clients),
  channelCount: Number(values.channels),
  serverCount: Number(values.servers),
  onFault: (outcome, atSeconds) => console.error(`${atSeconds} s: ${outcome}`),
});
const { violations, ...rest } = report;
console.log(
  JSON.stringify({
    soak: "live",
    minutes,
    ...rest,
    violationCount: violations.length,
    violations: violations.slice(0, 20),
  }),
);
process.exit(report.violations.length === 0 ? 0 : 1);
