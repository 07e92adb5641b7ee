// Publishes on many channels to many clients of several live servers over one Redis with Sentinels, while connections
// are cut, servers killed and Redis restarted and failed over; then looks for what anybody missed without having been
// told. Not a bench: it compares us with what we say.
//
//   node bench/soak/live.mjs --minutes 10 --seed 1 [--clients 200] [--channels 50] [--servers 3]
//
// Prints the report as a line of JSON. Ends with 1 when a client was silently short.
import { spawn } from "node:child_process";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = dirname(dirname(dirname(fileURLToPath(import.meta.url))));
const program = join(root, "packages/live/test/processes/loss-soak.ts");
const child = spawn(
  process.execPath,
  ["--import", "tsx", "--conditions", "holdfast-source", program, ...process.argv.slice(2)],
  { cwd: root, stdio: "inherit" },
);
for (const signal of ["SIGINT", "SIGTERM"]) process.on(signal, () => child.kill(signal));
child.on("exit", (code, signal) => {
  process.exitCode = signal === null ? (code ?? 1) : 1;
});
