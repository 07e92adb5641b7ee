import { resolve } from "node:path";
import { pathToFileURL } from "node:url";
import type { JobReporter } from "@holdfast/jobs/reporters";
import { UsageError } from "../terminal/problem.ts";

/**
 * The reporters that a module exports as its default: a list of what `@holdfast/jobs/reporters` makes, or of
 * anything with `name`, `when`, `deliver` and `close`.
 * @throws UsageError when the module does not load or exports something else, naming the file.
 */
export const loadReporters = async (path: string): Promise<readonly JobReporter[]> => {
  let module: { readonly default?: unknown };
  try {
    module = (await import(pathToFileURL(resolve(path)).href)) as typeof module;
  } catch (error) {
    throw new UsageError(
      `--reporters: ${path} does not load: ${error instanceof Error ? error.message : String(error)}`,
    );
  }
  const reporters = module.default;
  if (!Array.isArray(reporters)) {
    throw new UsageError(`--reporters: ${path} must export a list of reporters as its default`);
  }
  for (const [index, reporter] of reporters.entries()) {
    if (!isReporter(reporter)) {
      throw new UsageError(
        `--reporters: entry ${index} of ${path} is no reporter: it needs name, when ("always" or "asked"), deliver and close`,
      );
    }
  }
  return reporters as readonly JobReporter[];
};

const isReporter = (value: unknown): value is JobReporter => {
  if (typeof value !== "object" || value === null) return false;
  const { name, when, deliver, close } = value as Partial<Record<keyof JobReporter, unknown>>;
  return (
    typeof name === "string" &&
    (when === "always" || when === "asked") &&
    typeof deliver === "function" &&
    typeof close === "function"
  );
};
