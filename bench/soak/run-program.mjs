// Runs a program from its source, and ends as it ends.
import { spawn } from "node:child_process";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("../..", import.meta.url));

/** `program` is named from the root. Signals are passed on, so that what it started ends with it. */
export const runProgram = (program, { args = process.argv.slice(2), nodeArgs = [] } = {}) => {
  const child = spawn(
    process.execPath,
    [...nodeArgs, "--import", "tsx", "--conditions", "holdfast-source", program, ...args],
    { cwd: root, stdio: "inherit" },
  );
  for (const signal of ["SIGINT", "SIGTERM"]) process.on(signal, () => child.kill(signal));
  child.on("exit", (code, signal) => {
    process.exitCode = signal === null ? (code ?? 1) : 1;
  });
};
