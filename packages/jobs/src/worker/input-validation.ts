import type { ValidateInputAnswer } from "@holdfast/protocol/contract";
import { checkInput, type WorkflowRegistry } from "../model/registry.ts";

/** Answers a manager that asks whether an input is acceptable, with what the definition says beside it. */
export const validateAgainst = async (
  registry: WorkflowRegistry,
  request: { readonly workflow: string; readonly input: unknown },
): Promise<ValidateInputAnswer> => {
  const definition = registry.get(request.workflow);
  const known = [...registry.names];
  if (definition === undefined) {
    return {
      outcome: "unknown-workflow",
      issues: [],
      shards: 1,
      timeoutMs: 1,
      maxAttempts: 1,
      backoff: { baseMs: 0, factor: 1, capMs: 0 },
      kind: "workflow",
      dependsOn: [],
      known,
    };
  }
  const check = await checkInput(definition, request.input);
  return {
    outcome: check.kind,
    issues: check.kind === "invalid" ? check.issues.map((issue) => ({ ...issue })) : [],
    shards: check.kind === "valid" ? check.shardCount : 1,
    timeoutMs: definition.timeoutMs,
    maxAttempts: definition.maxAttempts,
    backoff: definition.backoff,
    kind: definition.kind,
    dependsOn: [...definition.dependsOn],
    known,
  };
};
