import { InvalidInputError } from "@holdfast/kernel";
import type { JobSpec, ValidateInputAnswer, WorkflowSpec } from "@holdfast/protocol/contract";
import { dependencyGraph } from "../model/dependency-graph.ts";
import { expandSpec } from "../model/expand-spec.ts";
import type { InputValidator } from "./input-validator.ts";
import type { WorkflowPlan } from "./job-state.ts";

/** A job that may be stored: every workflow known, every input accepted, nothing in a circle. */
export interface CheckedJob {
  /** With the dependencies that its definitions ask for. */
  readonly spec: JobSpec;
  readonly plans: readonly WorkflowPlan[];
}

/**
 * Checks a submission with the workers' own schemas and fixes how each workflow will run.
 * @throws InvalidInputError for texts that cannot be stored, double names, unknown dependencies and cycles;
 * UnknownWorkflowError, InvalidWorkflowInputError; NodeNotReadyError when no worker can be asked (retryable).
 */
export const checkSubmission = async (
  jobId: string,
  spec: JobSpec,
  validator: InputValidator,
): Promise<CheckedJob> => {
  refuseNul("jobId", jobId);
  refuseNul("spec.name", spec.name);
  // What needs no worker first: a cycle is a cycle whoever is connected.
  dependencyGraph(spec.workflows);
  const answers = new Map<WorkflowSpec["id"], ValidateInputAnswer>();
  const validate = async ({ id, workflow, input }: WorkflowSpec): Promise<ValidateInputAnswer> => {
    const answer = answers.get(id) ?? (await validator.validate(workflow, input));
    answers.set(id, answer);
    return answer;
  };
  // Many workflows are asked about at once; their answers are shared where they are the same.
  await Promise.all(spec.workflows.map(validate));
  const expanded = await expandSpec(jobId, spec, async (workflow) => (await validate(workflow)).dependsOn);
  if (expanded !== spec) dependencyGraph(expanded.workflows);
  const plans = await Promise.all(
    expanded.workflows.map(async (workflow) => planOf(workflow, await validate(workflow))),
  );
  return { spec: expanded, plans };
};

const planOf = (workflow: WorkflowSpec, definition: ValidateInputAnswer): WorkflowPlan => ({
  kind: definition.kind,
  shards: workflow.shards ?? definition.shards,
  maxAttempts: workflow.maxAttempts ?? definition.maxAttempts,
  timeoutMs: workflow.timeoutMs ?? definition.timeoutMs,
  backoff: definition.backoff,
});

/** PostgreSQL stores no NUL in a text. */
const refuseNul = (field: string, value: string): void => {
  if (value.includes("\0")) throw new InvalidInputError(field, value, "free of NUL characters");
};
