// Fifty processes contend over locks, a queue, state and a log while they are killed, frozen and cut off and the
// servers restarted; prints one JSON line with seeds, counts and violations. node bench/soak/coordination.mjs
// --minutes 30 --seed 1 [--workers 50]. Needs PostgreSQL and Redis.
import { spawn } from "node:child_process";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("../..", import.meta.url));
const child = spawn(
  process.execPath,
  [
    "--conditions",
    "holdfast-source",
    "--import",
    "tsx",
    "packages/coordination/test/processes/history-main.ts",
    ...process.argv.slice(2),
  ],
  { cwd: root, stdio: "inherit" },
);
child.on("exit", (code) => process.exit(code ?? 1));
