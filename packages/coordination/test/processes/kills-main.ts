// node … kills-main.ts --on postgres|redis --tasks N --kills N --seed S --worker-bundle FILE. One JSON line on stdout.
import { parseArgs } from "node:util";
import { runQueueKills } from "../histories/queue-kills.ts";

const { values } = parseArgs({
  options: {
    on: { type: "string", default: "postgres" },
    tasks: { type: "string", default: "1000000" },
    kills: { type: "string", default: "200" },
    workers: { type: "string", default: "4" },
    "lease-ms": { type: "string", default: "2500" },
    seed: { type: "string", default: "1" },
    "worker-bundle": { type: "string", default: "" },
  },
});
const report = await runQueueKills({
  on: values.on === "redis" ? "redis" : "postgres",
  seed: Number(values.seed),
  taskCount: Number(values.tasks),
  killCount: Number(values.kills),
  workerCount: Number(values.workers),
  leaseMs: Number(values["lease-ms"]),
  workerBundle: values["worker-bundle"],
  onProgress: (line) => process.stderr.write(`${line}\n`),
});
console.log(JSON.stringify(report));
process.exit(report.violations.length > 0 ? 1 : 0);
