import { existsSync } from "node:fs";
import { resolve } from "node:path";
import { UsageError } from "../terminal/problem.ts";

/** Found by itself in the working directory, so that `npm start` in a project needs no flag. */
const DEFAULT_NAMES = [
  "holdfast.workflows.ts",
  "holdfast.workflows.mts",
  "holdfast.workflows.js",
  "holdfast.workflows.mjs",
];

/** The workflow module to load: the flag's, else the project's default one, else none. */
export const findWorkflowModule = (cwd: string, flag: string | undefined): string | undefined => {
  if (flag !== undefined) {
    const path = resolve(cwd, flag);
    if (!existsSync(path)) throw new UsageError(`--workflows: ${flag} does not exist`);
    return path;
  }
  return DEFAULT_NAMES.map((name) => resolve(cwd, name)).find((path) => existsSync(path));
};
