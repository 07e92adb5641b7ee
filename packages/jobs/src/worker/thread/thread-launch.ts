import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { pathToFileURL } from "node:url";
import { Worker, type WorkerOptions } from "node:worker_threads";
import { WorkflowModuleError } from "../../errors.ts";
import type { ThreadData } from "./thread-messages.ts";

export interface ThreadLaunchOptions extends ThreadData {
  readonly memoryMb: number;
}

const isTypeScript = (path: string): boolean => /\.[cm]?ts$/.test(path);
const IS_CHECKOUT = isTypeScript(import.meta.url);
const ENTRY = new URL(`./thread-main${IS_CHECKOUT ? ".ts" : ".js"}`, import.meta.url);

/**
 * Starts a thread for workflows. TypeScript loads where Node strips types or tsx is installed beside the
 * module or beside us.
 * @throws WorkflowModuleError when the module is TypeScript and neither is the case.
 */
export const launchThread = ({ memoryMb, ...data }: ThreadLaunchOptions): Worker => {
  const options: WorkerOptions = {
    name: "workflows",
    workerData: data satisfies ThreadData,
    resourceLimits: { maxOldGenerationSizeMb: memoryMb },
    // What workflows print must not mix with what the node prints.
    stdout: true,
    stderr: true,
    // In a checkout the packages find each other's sources by this condition.
    ...(IS_CHECKOUT ? { execArgv: ["--conditions=holdfast-source"] } : {}),
  };
  if (!(IS_CHECKOUT || isTypeScript(data.moduleUrl)) || stripsTypes()) return new Worker(ENTRY, options);
  return new Worker(bootstrap(tsxFor(data.moduleUrl)), { ...options, eval: true });
};

/** `--import tsx` does nothing in a thread (tsx registers itself on the main thread only), so the thread asks it to. */
const bootstrap = (tsxUrl: string): string =>
  `import(${JSON.stringify(tsxUrl)})
    .then(({ register }) => { register(); return import(${JSON.stringify(ENTRY.href)}); })
    .catch((error) => setImmediate(() => { throw error; }));`;

const stripsTypes = (): boolean => {
  const { typescript } = process.features as { readonly typescript?: unknown };
  return typescript === "strip" || typescript === "transform";
};

const tsxFor = (moduleUrl: string): string => {
  const found = findTsx(moduleUrl) ?? findTsx(import.meta.url);
  if (found !== undefined) return found;
  throw new WorkflowModuleError(
    new URL(moduleUrl).pathname,
    "is TypeScript, which this Node cannot run: install tsx beside it, use Node 22.18 or later, or compile it",
  );
};

/** The ESM API of the tsx that `from` would import. Its CommonJS twin cannot register from a thread. */
const findTsx = (from: string): string | undefined => {
  try {
    const require = createRequire(from);
    const manifest = require.resolve("tsx/package.json");
    const { exports } = require(manifest) as { exports: Record<string, { import: { default: string } }> };
    const api = exports["./esm/api"]?.import.default;
    return api === undefined ? undefined : pathToFileURL(join(dirname(manifest), api)).href;
  } catch {
    return undefined;
  }
};
