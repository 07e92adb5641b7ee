// How many tasks a second are added and run at the same time while ten thousand, a million and five million wait, and
// while another session of PostgreSQL holds an old snapshot for ten minutes, of which a queue beside it takes half.
//
//   node bench/soak/queue-depth.mjs --on postgres|redis [--depths 10000,1000000] [--rounds 7] [--snapshot-minutes 10]
//
// Prints a line of JSON for each queue. Ends with 1 when one of them keeps less than 0.9 of what the first does.
import { spawn } from "node:child_process";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = dirname(dirname(dirname(fileURLToPath(import.meta.url))));
const program = join(root, "bench/src/soak/queue-depth-soak.ts");
const child = spawn(
  process.execPath,
  ["--import", "tsx", "--conditions", "holdfast-source", program, ...process.argv.slice(2)],
  { cwd: root, stdio: "inherit" },
);
for (const signal of ["SIGINT", "SIGTERM"]) process.on(signal, () => child.kill(signal));
child.on("exit", (code, signal) => {
  process.exitCode = signal === null ? (code ?? 1) : 1;
});
