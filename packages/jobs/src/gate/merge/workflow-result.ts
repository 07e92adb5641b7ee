import type { WorkflowResult } from "@holdfast/protocol/contract";
import type { ContractError } from "../gate-job.ts";
import { type MergePolicy, mergeWorkflowStatus } from "./job-status.ts";
import { sumMeasurements } from "./measurements.ts";

/** Outputs in a result, as the contract has it. */
export const OUTPUTS_MAX_COUNT = 1_000;

/** What one datacenter said of a workflow; undefined when it never did. */
export interface WorkflowPart {
  readonly datacenter: string;
  readonly result: WorkflowResult | undefined;
}

/**
 * One result of a workflow over its datacenters. Shards, counters and histograms are sums, the elapsed time
 * is the longest, outputs follow the order of the datacenters (the first 1000), errors name their datacenter.
 * Nothing depends on the order in which the parts came.
 */
export const mergeWorkflowResults = (
  workflow: { readonly id: string; readonly name: string; readonly workflow: string },
  parts: readonly WorkflowPart[],
  policy: MergePolicy,
): WorkflowResult => {
  const known = parts.flatMap(({ datacenter, result }) =>
    result === undefined ? [] : [{ datacenter, result }],
  );
  const status = mergeWorkflowStatus(
    parts.map(({ result }) => result?.status),
    policy,
  );
  const { totals, problems } = sumMeasurements(
    known.map(({ datacenter, result }) => ({ datacenter, totals: result.totals })),
  );
  const shards = { total: 0, completed: 0, failed: 0 };
  for (const { result } of known) {
    shards.total += result.shards.total;
    shards.completed += result.shards.completed;
    shards.failed += result.shards.failed;
  }
  const error = firstError(parts, problems);
  const startedAt = least(known.flatMap(({ result }) => result.startedAt ?? []));
  const finishedAt = greatest(known.flatMap(({ result }) => result.finishedAt ?? []));
  return {
    workflowId: workflow.id,
    name: workflow.name,
    workflow: workflow.workflow,
    status,
    shards,
    ...mergeOutputs(known.map(({ result }) => result)),
    totals,
    ...(startedAt === undefined ? {} : { startedAt }),
    ...(finishedAt === undefined ? {} : { finishedAt }),
    elapsedMs: greatest(known.map(({ result }) => result.elapsedMs)) ?? 0,
    ...(error === undefined ? {} : { error }),
    datacenters: Object.fromEntries(
      known.map(({ datacenter, result }) => [
        datacenter,
        {
          status: result.status,
          shards: result.shards,
          totals: result.totals,
          elapsedMs: result.elapsedMs,
          ...(result.error === undefined ? {} : { error: result.error }),
        },
      ]),
    ),
  };
};

const mergeOutputs = (
  results: readonly WorkflowResult[],
): Pick<WorkflowResult, "outputs" | "outputsOmitted"> => {
  const outputs = results.flatMap((result) => result.outputs);
  const cut = outputs.splice(OUTPUTS_MAX_COUNT).filter((output) => output !== null);
  const outputsOmitted = results.reduce((sum, result) => sum + (result.outputsOmitted ?? 0), cut.length);
  return outputsOmitted === 0 ? { outputs } : { outputs, outputsOmitted };
};

/** The error of the first datacenter that has one, with its name in front. */
const firstError = (
  parts: readonly WorkflowPart[],
  problems: readonly string[],
): ContractError | undefined => {
  for (const { datacenter, result } of parts) {
    if (result?.error !== undefined) {
      return { ...result.error, message: `${datacenter}: ${result.error.message}` };
    }
    if (result === undefined) {
      const message = `${datacenter}: missing result`;
      return { code: "JOBS_MISSING_RESULT", message, retryable: false };
    }
  }
  const [problem] = problems;
  return problem === undefined
    ? undefined
    : { code: "JOBS_MEASUREMENTS", message: problem, retryable: false };
};

const least = (values: readonly number[]): number | undefined =>
  values.length === 0 ? undefined : values.reduce((a, b) => Math.min(a, b));
const greatest = (values: readonly number[]): number | undefined =>
  values.length === 0 ? undefined : values.reduce((a, b) => Math.max(a, b));
