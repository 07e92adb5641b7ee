import type { Json } from "@holdfast/coordination";
import type { JobResult, WorkflowResult } from "@holdfast/protocol/contract";
import { approximateBytes } from "../../model/approximate-bytes.ts";
import type { JobState, WorkflowState } from "../job-state.ts";
import type { ShardResults } from "../shard-results.ts";

/** A job's result is one log entry, and those are limited; a gate merges several of them into one. */
export const RESULT_MAX_BYTES = 640 * 1024;
/** Histograms of one workflow that are kept in results. A hundred full ones would not fit an entry. */
const HISTOGRAMS_MAX_BYTES = 256 * 1024;

/** What a workflow came to, complete or not. */
export const workflowResultOf = (workflow: WorkflowState): WorkflowResult => {
  const { results, spec, startedAt, finishedAt } = workflow;
  const totals = results.totals();
  return {
    workflowId: spec.id,
    name: spec.name,
    workflow: spec.workflow,
    status: workflow.status,
    shards: shardCounts(workflow),
    ...keptOutputs(results),
    totals: { counters: totals.counters, histograms: fitting(totals.histograms, HISTOGRAMS_MAX_BYTES) },
    ...(startedAt === undefined ? {} : { startedAt }),
    ...(finishedAt === undefined ? {} : { finishedAt }),
    elapsedMs: startedAt === undefined || finishedAt === undefined ? 0 : Math.max(0, finishedAt - startedAt),
    ...(workflow.error === undefined ? {} : { error: workflow.error }),
  };
};

/**
 * The result of the whole job in this datacenter, at most {@link RESULT_MAX_BYTES}: beyond it outputs, then
 * histograms, of the last workflows are left out (each workflow's own result has them) and `errors` says so.
 */
export const jobResultOf = (job: JobState): JobResult => {
  const finishedAt = job.finishedAt ?? job.submittedAt;
  const elapsedMs = Math.max(0, finishedAt - job.submittedAt);
  const { workflows, left } = fitWorkflows(job.workflows.map(workflowResultOf));
  const error = job.workflows.find((workflow) => workflow.status === "failed")?.error;
  return {
    jobId: job.jobId,
    name: job.spec.name,
    status: job.status,
    workflows,
    datacenters: {
      [job.datacenter]: { status: job.status, elapsedMs, ...(error === undefined ? {} : { error }) },
    },
    errors: left === 0 ? [...job.errors] : [...job.errors, leftOut(left)],
    submittedAt: job.submittedAt,
    finishedAt,
    elapsedMs,
  };
};

/** What a dependent workflow gets of this one. */
export const dependencyValue = ({
  isBypassed,
  results,
}: WorkflowState): KeptOutputs & { readonly counters: Record<string, number> } =>
  isBypassed
    ? { outputs: [], counters: {} }
    : { ...keptOutputs(results), counters: { ...results.totals().counters } };

interface KeptOutputs {
  readonly outputs: Json[];
  readonly outputsOmitted?: number;
}

const keptOutputs = (results: ShardResults): KeptOutputs => ({
  outputs: results.outputs(),
  ...(results.outputsOmitted === 0 ? {} : { outputsOmitted: results.outputsOmitted }),
});

export const shardCounts = ({
  plan,
  results,
}: WorkflowState): { readonly total: number; readonly completed: number; readonly failed: number } => ({
  total: plan.shards,
  completed: results.completedCount,
  failed: results.deadCount,
});

const fitWorkflows = (
  results: readonly WorkflowResult[],
): { readonly workflows: WorkflowResult[]; readonly left: number } => {
  const workflows = [...results];
  let sizeBytes = approximateBytes(workflows);
  let left = 0;
  for (const part of ["outputs", "histograms"] as const) {
    for (let index = workflows.length - 1; index >= 0 && sizeBytes > RESULT_MAX_BYTES; index -= 1) {
      const before = workflows[index] as WorkflowResult;
      const after = without(before, part);
      const saved = approximateBytes(before) - approximateBytes(after);
      if (saved === 0) continue;
      workflows[index] = after;
      sizeBytes -= saved;
      left += 1;
    }
  }
  return { workflows, left };
};

const without = (result: WorkflowResult, part: "outputs" | "histograms"): WorkflowResult =>
  part === "outputs"
    ? { ...result, outputs: [] }
    : { ...result, totals: { counters: result.totals.counters, histograms: {} } };

const fitting = <T>(values: Readonly<Record<string, T>>, limitBytes: number): Record<string, T> => {
  let sizeBytes = 0;
  const kept: [string, T][] = [];
  for (const [name, value] of Object.entries(values)) {
    sizeBytes += approximateBytes(value) + name.length;
    if (sizeBytes > limitBytes) break;
    kept.push([name, value]);
  }
  return Object.fromEntries(kept);
};

const leftOut = (count: number): string =>
  `${count} parts of the result (outputs or histograms) were left out because the whole would be too large; each workflow's own result has them`;
