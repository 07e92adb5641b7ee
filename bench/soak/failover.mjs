// Takes the leader of a real three-node cluster down again and again, in seven ways, and now and then out of
// its clients' reach, while sessions write and read, then hands leadership over as planned (20 times), and checks every
// promise against the table afterwards. Not a bench: it compares us with what we say.
//
//   node bench/soak/failover.mjs --failovers 50 --seed 1 [--switchovers 20] [--minutes 60] [--workers 6] [--fault "cut from etcd"]
//
// Prints a line of JSON for each failover and each switchover, and the report as the last one. Ends with 1 when a promise was broken.
import { spawn } from "node:child_process";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = dirname(dirname(dirname(fileURLToPath(import.meta.url))));
const program = join(root, "packages/data/test/processes/failover-soak.ts");
const child = spawn(
  process.execPath,
  ["--import", "tsx", "--conditions", "holdfast-source", program, ...process.argv.slice(2)],
  { cwd: root, stdio: "inherit" },
);
for (const signal of ["SIGINT", "SIGTERM"]) process.on(signal, () => child.kill(signal));
child.on("exit", (code, signal) => {
  process.exitCode = signal === null ? (code ?? 1) : 1;
});
