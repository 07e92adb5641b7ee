import type { JobResult, JobSpec, JobStatus, WorkflowResult } from "@holdfast/protocol/contract";
import type { ContractError } from "../gate-job.ts";
import { fitWorkflowResults } from "./fit-result.ts";
import { mergeJobStatus } from "./job-status.ts";
import { partsOf, workflowsOf } from "./workflow-list.ts";
import { mergeWorkflowResults } from "./workflow-result.ts";

/** Error lines in a result; more are counted in one last line. */
export const ERRORS_MAX_COUNT = 200;

/** How a job ended in one datacenter, as far as the gate knows. */
export interface DatacenterOutcome {
  readonly datacenter: string;
  /** Not terminal: it never said how it ended, and counts as timeout. */
  readonly status: JobStatus;
  readonly results: ReadonlyMap<string, WorkflowResult>;
  readonly elapsedMs: number;
  readonly error: ContractError | undefined;
  readonly errors: readonly string[];
}

export interface MergeJobInput {
  readonly jobId: string;
  readonly spec: JobSpec;
  readonly parts: readonly DatacenterOutcome[];
  /** Said by the gate itself. */
  readonly errors: readonly string[];
  readonly submittedAt: number;
  readonly finishedAt: number;
}

/**
 * The one result of a job over its datacenters: failed before cancelled before timeout before completed,
 * totals summed, each error with its datacenter in front. Nothing depends on the order in which the parts came.
 * What would not fit one log entry is cut: outputs first, then histograms, and an error line says so.
 */
export const mergeJobResult = (input: MergeJobInput): JobResult => {
  const { jobId, spec, parts } = input;
  const status = mergeJobStatus(
    parts.map((part) => part.status),
    spec.policy,
  );
  const merged = workflowsOf(spec, parts).map((workflow) =>
    mergeWorkflowResults(workflow, partsOf(workflow, parts), spec.policy),
  );
  const { workflows, notes } = fitWorkflowResults(merged);
  const errors = [...input.errors, ...parts.flatMap(errorLines), ...notes];
  return {
    jobId,
    name: spec.name,
    status,
    workflows: [...workflows],
    datacenters: Object.fromEntries(
      parts.map((part) => [
        part.datacenter,
        {
          status: isEnded(part.status) ? part.status : ("timeout" as const),
          elapsedMs: part.elapsedMs,
          ...(part.error === undefined ? {} : { error: part.error }),
        },
      ]),
    ),
    errors: cut(errors),
    submittedAt: input.submittedAt,
    finishedAt: input.finishedAt,
    elapsedMs: Math.max(0, input.finishedAt - input.submittedAt),
  };
};

const errorLines = (part: DatacenterOutcome): readonly string[] => {
  if (!isEnded(part.status)) return [`${part.datacenter}: missing final result`];
  const lines = part.errors.length > 0 || part.error === undefined ? part.errors : [part.error.message];
  return lines.map((line) => `${part.datacenter}: ${line}`);
};

const isEnded = (status: JobStatus): boolean =>
  ["completed", "partial", "failed", "cancelled", "timeout"].includes(status);

const cut = (errors: readonly string[]): string[] =>
  errors.length <= ERRORS_MAX_COUNT
    ? [...errors]
    : [...errors.slice(0, ERRORS_MAX_COUNT), `and ${errors.length - ERRORS_MAX_COUNT} more errors`];
