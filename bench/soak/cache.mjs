// Writes and reads through several caches over one Redis while it is killed, frozen, cut off, robbed of its guards and
// failed over, and checks the whole history against the cache's guarantee. Not a bench: it compares us with what we say.
//
//   node bench/soak/cache.mjs --minutes 10 --seed 1 [--redis single|sentinel|both]
//
// Prints a line of JSON for each run, and the report as the last one. Ends with 1 when a read broke the guarantee.
import { spawn } from "node:child_process";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = dirname(dirname(dirname(fileURLToPath(import.meta.url))));
const program = join(root, "packages/data/test/processes/cache-soak.ts");
const child = spawn(
  process.execPath,
  ["--import", "tsx", "--conditions", "holdfast-source", program, ...process.argv.slice(2)],
  { cwd: root, stdio: "inherit" },
);
for (const signal of ["SIGINT", "SIGTERM"]) process.on(signal, () => child.kill(signal));
child.on("exit", (code, signal) => {
  process.exitCode = signal === null ? (code ?? 1) : 1;
});
