// A thousand jobs with ten thousand workflows through one cell with its console, and what is left of them: memory,
// timers, sockets, leases, tasks; and how the console answered meanwhile.
//
//   node bench/soak/many-jobs.mjs [--jobs 1000] [--laps 10]
//
// Prints a line of JSON for each lap, and the report as the last one. Ends with 1 when something was left.
import { spawn } from "node:child_process";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = dirname(dirname(dirname(fileURLToPath(import.meta.url))));
const program = join(root, "bench/src/soak/many-jobs-soak.ts");
const child = spawn(
  process.execPath,
  ["--expose-gc", "--import", "tsx", "--conditions", "holdfast-source", program, ...process.argv.slice(2)],
  { cwd: root, stdio: "inherit" },
);
for (const signal of ["SIGINT", "SIGTERM"]) process.on(signal, () => child.kill(signal));
child.on("exit", (code, signal) => {
  process.exitCode = signal === null ? (code ?? 1) : 1;
});
