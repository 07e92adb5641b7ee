import type { Json } from "@holdfast/coordination";
import { InvalidInputError } from "@holdfast/kernel";
import type { StandardSchemaV1 } from "@standard-schema/spec";
import {
  COMMON_FIELDS,
  checkCommonOptions,
  checkFunction,
  checkKnownFields,
  checkWorkflowName,
} from "./definition-checks.ts";
import type { WorkflowContext, WorkflowDefinition, WorkflowOptions, WorkflowOutput } from "./workflow.ts";

/** Marks what our functions made, also across two loaded copies of this package. */
const BRAND = Symbol.for("holdfast.workflow");

/** Marks `definition` as made by us and freezes it: threads and registries share it. */
export const brandDefinition = (definition: WorkflowDefinition): WorkflowDefinition => {
  Object.defineProperty(definition, BRAND, { value: true });
  return Object.freeze(definition);
};

/** True for what `defineWorkflow` and `defineLoadTest` return, also from another loaded copy of this package. */
export const isWorkflowDefinition = (value: unknown): value is WorkflowDefinition =>
  typeof value === "object" && value !== null && BRAND in value;

const WHAT = "defineWorkflow";

/**
 * Defines a kind of work that workers offer under its name.
 *
 * @example
 * export const greet = defineWorkflow({
 *   name: "greet",
 *   input: z.object({ who: z.string() }),
 *   run: async ({ input, log }) => {
 *     log.info({}, `hello ${input.who}`);
 *     return { greeted: input.who };
 *   },
 * });
 *
 * @throws InvalidInputError naming the option that is not acceptable.
 */
export const defineWorkflow = <Schema extends StandardSchemaV1, Output extends WorkflowOutput>(
  options: WorkflowOptions<Schema, Output>,
): WorkflowDefinition => {
  const common = checkCommonOptions(WHAT, options);
  checkKnownFields(WHAT, options, [...COMMON_FIELDS, "dependsOn", "run"]);
  checkFunction(`${WHAT}.run`, options.run);
  return brandDefinition({
    kind: "workflow",
    ...common,
    dependsOn: checkDependsOn(common.name, options.dependsOn),
    run: async (context) =>
      ((await options.run(context as WorkflowContext<StandardSchemaV1.InferOutput<Schema>>)) ?? undefined) as
        | Json
        | undefined,
  });
};

const checkDependsOn = (name: string, dependsOn: unknown): readonly string[] => {
  const field = `${WHAT}.dependsOn`;
  if (dependsOn === undefined) return [];
  if (!Array.isArray(dependsOn)) throw new InvalidInputError(field, dependsOn, "an array of workflow names");
  const names = dependsOn.map((value: unknown, index) => checkWorkflowName(`${field}[${index}]`, value));
  names.forEach((dependency, index) => {
    if (dependency === name) {
      throw new InvalidInputError(`${field}[${index}]`, dependency, "the name of another workflow");
    }
    if (names.indexOf(dependency) !== index) {
      throw new InvalidInputError(`${field}[${index}]`, dependency, "named only once");
    }
  });
  return Object.freeze(names);
};
