// Three gates and two datacenters as processes on hosts of their own (network namespaces: needs root and iproute2),
// disturbed in every way under a stream of jobs, then held against what is promised.
//
//   node bench/soak/jobs.mjs --minutes 10 --seed 1 [--rate 1]
//
// Prints a line of JSON for each disturbance, and the report as the last one. Ends with 1 when a promise was broken.
import { spawn } from "node:child_process";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = dirname(dirname(dirname(fileURLToPath(import.meta.url))));
const program = join(root, "bench/src/soak/jobs-soak.ts");
const child = spawn(
  process.execPath,
  ["--import", "tsx", "--conditions", "holdfast-source", program, ...process.argv.slice(2)],
  { cwd: root, stdio: "inherit" },
);
for (const signal of ["SIGINT", "SIGTERM"]) process.on(signal, () => child.kill(signal));
child.on("exit", (code, signal) => {
  process.exitCode = signal === null ? (code ?? 1) : 1;
});
