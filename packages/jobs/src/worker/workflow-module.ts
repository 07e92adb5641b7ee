import { resolve } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { DuplicateWorkflowError, WorkflowModuleError } from "../errors.ts";
import { isWorkflowDefinition } from "../model/define-workflow.ts";
import { createRegistry, type WorkflowRegistry } from "../model/registry.ts";
import type { WorkflowDefinition } from "../model/workflow.ts";

/**
 * Imports a module and registers the workflows that it exports: by name, as default, or in arrays.
 *
 * TypeScript files load where the running Node strips types (22.18 and later) or tsx is registered.
 * @param path Relative to the working directory, absolute, or a file URL.
 * @throws WorkflowModuleError when it does not load or exports none; DuplicateWorkflowError naming both exports.
 */
export const loadWorkflowModule = async (path: string): Promise<WorkflowRegistry> => {
  const url = moduleUrl(path);
  let exports: Record<string, unknown>;
  try {
    exports = (await import(url.href)) as Record<string, unknown>;
  } catch (error) {
    throw new WorkflowModuleError(fileURLToPath(url), problemOf(error), { cause: error });
  }
  const found = definitionsOf(exports);
  if (found.length === 0) {
    throw new WorkflowModuleError(
      fileURLToPath(url),
      "exports no workflow; export what defineWorkflow or defineLoadTest returns",
    );
  }
  try {
    return createRegistry(
      found.map(({ definition }) => definition),
      found.map(({ source }) => source),
    );
  } catch (error) {
    if (error instanceof DuplicateWorkflowError) throw error;
    throw new WorkflowModuleError(fileURLToPath(url), problemOf(error), { cause: error });
  }
};

export const moduleUrl = (path: string): URL =>
  path.startsWith("file:") ? new URL(path) : pathToFileURL(resolve(path));

/** One definition may be exported twice, by name and as default; that is still one. */
const definitionsOf = (
  exports: Record<string, unknown>,
): readonly { readonly definition: WorkflowDefinition; readonly source: string }[] => {
  const sources = new Map<WorkflowDefinition, string>();
  const add = (value: unknown, source: string): void => {
    if (isWorkflowDefinition(value) && !sources.has(value)) sources.set(value, source);
  };
  for (const [name, value] of Object.entries(exports)) {
    add(value, `export ${name}`);
    if (!Array.isArray(value)) continue;
    for (const [index, item] of value.entries()) add(item, `export ${name}[${index}]`);
  }
  return [...sources].map(([definition, source]) => ({ definition, source }));
};

const problemOf = (error: unknown): string => {
  const { code, message } = error as { readonly code?: unknown; readonly message?: unknown };
  if (code === "ERR_UNKNOWN_FILE_EXTENSION") {
    return "is TypeScript, which this Node cannot run: install tsx beside it, use Node 22.18 or later, or compile it";
  }
  return `does not load: ${typeof message === "string" ? message : String(error)}`;
};
