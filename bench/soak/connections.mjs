// Kills, freezes, cuts off, half-opens and slows one node of three, then two, again and again under a constant load on
// real sockets, and checks what the client promises. Not a bench: it compares us with what we say.
//
//   node bench/soak/connections.mjs [--minutes 5] [--seed 1] [--rate 200]
//
// Prints a line of JSON for each lap through all faults, and the report as the last one. Ends with 1 when a promise was
// broken.
import { spawn } from "node:child_process";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = dirname(dirname(dirname(fileURLToPath(import.meta.url))));
const program = join(root, "packages/connection/test/processes/cluster-soak.ts");
const child = spawn(
  process.execPath,
  ["--import", "tsx", "--conditions", "holdfast-source", program, ...process.argv.slice(2)],
  { cwd: root, stdio: "inherit" },
);
for (const signal of ["SIGINT", "SIGTERM"]) process.on(signal, () => child.kill(signal));
child.on("exit", (code, signal) => {
  process.exitCode = signal === null ? (code ?? 1) : 1;
});
