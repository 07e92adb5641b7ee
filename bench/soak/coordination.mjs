// Fifty processes contend over locks, a queue, state and a log while they are killed, frozen and cut off and the
// servers restarted; prints one JSON line with seeds, counts and violations. node bench/soak/coordination.mjs
// --minutes 30 --seed 1 [--workers 50]. Needs PostgreSQL and Redis, and the packages to be built.
import { spawn } from "node:child_process";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const root = fileURLToPath(new URL("../..", import.meta.url));
const tests = "packages/coordination/test";
// Hundreds of workers are started, so they start from one file instead of being compiled each time.
const bundle = `${root}node_modules/.cache/holdfast/history-worker.mjs`;
await build({
  absWorkingDir: root,
  entryPoints: [`${tests}/processes/history-worker.ts`],
  outfile: bundle,
  bundle: true,
  platform: "node",
  format: "esm",
  conditions: ["holdfast-source"],
  // Read their SQL and scripts from beside themselves, so they stay where they are.
  external: ["@holdfast/coordination", "@holdfast/kernel", "pg", "redis"],
  logLevel: "warning",
});
const child = spawn(
  process.execPath,
  [
    "--conditions",
    "holdfast-source",
    "--import",
    "tsx",
    `${tests}/processes/history-main.ts`,
    ...process.argv.slice(2),
    "--worker-bundle",
    bundle,
  ],
  { cwd: root, stdio: "inherit" },
);
child.on("exit", (code) => process.exit(code ?? 1));
