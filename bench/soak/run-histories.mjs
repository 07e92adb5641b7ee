// Starts a program of packages/coordination/test/processes from its source, with its workers as one file.
import { spawn } from "node:child_process";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

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
  const child = spawn(
    process.execPath,
    [
      "--conditions",
      "holdfast-source",
      "--import",
      "tsx",
      `${processes}/${program}.ts`,
      ...process.argv.slice(2),
      "--worker-bundle",
      bundle,
    ],
    { cwd: root, stdio: "inherit" },
  );
  child.on("exit", (code) => process.exit(code ?? 1));
};
