// Starts a program of packages/coordination/test/processes from its source, with its workers as one file.
import { fileURLToPath } from "node:url";
import { build } from "esbuild";
import { runProgram } from "./run-program.mjs";

const root = fileURLToPath(new URL("../..", import.meta.url));
const processes = "packages/coordination/test/processes";

/** Ends this process with the program's exit code. */
export const runFromSource = async (program, worker) => {
  // Hundreds of workers are started, so they start from one file instead of being compiled each time.
  const bundle = `${root}node_modules/.cache/holdfast/${worker}.mjs`;
  await build({
    absWorkingDir: root,
    entryPoints: [`${processes}/${worker}.ts`],
    outfile: bundle,
    bundle: true,
    platform: "node",
    format: "esm",
    conditions: ["holdfast-source"],
    // Read their SQL and scripts from beside themselves, so they stay where they are.
    external: ["@holdfast/coordination", "@holdfast/kernel", "pg", "redis"],
    logLevel: "warning",
  });
  runProgram(`${processes}/${program}.ts`, {
    args: [...process.argv.slice(2), "--worker-bundle", bundle],
  });
};
