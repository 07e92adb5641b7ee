import { isHoldfastError } from "@holdfast/kernel";
import type { WorkflowCatalogEntry } from "@holdfast/protocol/contract";
import type { StandardJSONSchemaV1, StandardSchemaV1 } from "@standard-schema/spec";
import { DuplicateWorkflowError, type InputIssue } from "../errors.ts";
import type { WorkflowDefinition } from "./workflow.ts";

/** The workflows that one worker offers, by name. */
export interface WorkflowRegistry {
  /** In the order of definition. */
  readonly names: readonly string[];
  get(name: string): WorkflowDefinition | undefined;
  /** What managers are told: everything but the code. */
  catalog(): readonly WorkflowCatalogEntry[];
}

/**
 * Collects definitions under their names.
 * @param sources Where each definition comes from, for the error; default `definition 1`, `definition 2` …
 * @throws DuplicateWorkflowError when two definitions share a name, naming both.
 */
export const createRegistry = (
  definitions: readonly WorkflowDefinition[],
  sources: readonly string[] = [],
): WorkflowRegistry => {
  const byName = new Map<string, { definition: WorkflowDefinition; source: string }>();
  definitions.forEach((definition, index) => {
    const source = sources[index] ?? `definition ${index + 1}`;
    const existing = byName.get(definition.name);
    if (existing !== undefined) {
      throw new DuplicateWorkflowError(definition.name, [existing.source, source]);
    }
    byName.set(definition.name, { definition, source });
  });
  return {
    names: [...byName.keys()],
    get: (name) => byName.get(name)?.definition,
    catalog: () => [...byName.values()].map(({ definition }) => catalogEntry(definition)),
  };
};

const catalogEntry = (definition: WorkflowDefinition): WorkflowCatalogEntry => {
  const inputSchema = jsonSchemaOf(definition.input);
  return {
    name: definition.name,
    kind: definition.kind,
    description: definition.description,
    shards: definition.fixedShardCount ?? 1,
    timeoutMs: definition.timeoutMs,
    maxAttempts: definition.maxAttempts,
    dependsOn: [...definition.dependsOn],
    ...(inputSchema === undefined ? {} : { inputSchema }),
  };
};

/** Undefined where the schema library cannot give one; that is no fault of the definition. */
const jsonSchemaOf = (schema: StandardSchemaV1): unknown => {
  const standard: Partial<StandardJSONSchemaV1.Props> = schema["~standard"];
  try {
    return standard.jsonSchema?.input({ target: "draft-2020-12" });
  } catch {
    return undefined;
  }
};

export type InputCheck =
  | { readonly kind: "valid"; readonly value: unknown; readonly shardCount: number }
  | { readonly kind: "invalid"; readonly issues: readonly InputIssue[] };

/** Most issues that one answer carries: enough to mend an input, small enough for a terminal. */
const ISSUES_MAX_COUNT = 50;

/** Runs the definition's own schema, then its shard function. What they throw becomes an issue, never an exception. */
export const checkInput = async (definition: WorkflowDefinition, input: unknown): Promise<InputCheck> => {
  try {
    const result = await definition.input["~standard"].validate(input);
    if (result.issues !== undefined) {
      return { kind: "invalid", issues: result.issues.slice(0, ISSUES_MAX_COUNT).map(toInputIssue(input)) };
    }
    return { kind: "valid", value: result.value, shardCount: definition.shardCount(result.value) };
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    const path = isHoldfastError(error) ? "shards" : "";
    return { kind: "invalid", issues: [{ path, message: `the check itself failed: ${message}` }] };
  }
};

const toInputIssue =
  (input: unknown) =>
  (issue: StandardSchemaV1.Issue): InputIssue => {
    const keys = (issue.path ?? []).map((part) => (typeof part === "object" ? part.key : part));
    const value = shorten(valueAt(input, keys));
    return {
      path: keys.map(String).join("."),
      message: issue.message,
      ...(value === undefined ? {} : { value }),
    };
  };

const valueAt = (input: unknown, keys: readonly PropertyKey[]): unknown =>
  keys.reduce<unknown>(
    (value, key) =>
      typeof value === "object" && value !== null && Object.hasOwn(value, key)
        ? (value as Record<PropertyKey, unknown>)[key]
        : undefined,
    input,
  );

/** A whole input may be megabytes; an issue shows the reader what is wrong, not all of it. */
const VALUE_SHOWN_MAX_CHARACTERS = 200;

const shorten = (value: unknown): unknown => {
  const text = JSON.stringify(value);
  if (text === undefined || text.length <= VALUE_SHOWN_MAX_CHARACTERS) return value;
  return `${text.slice(0, VALUE_SHOWN_MAX_CHARACTERS - 1)}…`;
};
