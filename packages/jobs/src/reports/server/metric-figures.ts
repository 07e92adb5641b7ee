import type { JobResult, WorkflowResult } from "@holdfast/protocol/contract";
import { type StepRow, stepRows } from "../step-rows.ts";

/** One number of a result, as metric systems want it: a name, labels, a value that never falls below 0. */
export interface Figure {
  /** Lower case with underscores, the unit last. */
  readonly metric: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
}

/** Every metric that `figuresOf` may use, with what it says. */
export const METRICS: Readonly<Record<string, string>> = {
  job_elapsed_seconds: "From submission to the final result",
  job_finished_timestamp_seconds: "When the job ended",
  job_completed: "1 when the job completed, else 0",
  workflow_elapsed_seconds: "From the start of the workflow's first shard to its end",
  workflow_shards: "Shards by how they ended",
  measure_total: "Sum of a counter, or number of values of a histogram",
  measure: "A histogram's figure: min, mean, max, or a percentile",
};

const FIGURES = ["min", "mean", "max", "p50", "p90", "p95", "p99", "p999"] as const;

/**
 * The figures of a result. Ids are left out on purpose: labelled with them, every run would add its own series
 * to a store that keeps them for good.
 */
export const figuresOf = (result: JobResult): readonly Figure[] => {
  const labels = { job: result.name };
  return [
    { metric: "job_elapsed_seconds", labels, value: result.elapsedMs / 1_000 },
    { metric: "job_finished_timestamp_seconds", labels, value: result.finishedAt / 1_000 },
    { metric: "job_completed", labels, value: result.status === "completed" ? 1 : 0 },
    ...result.workflows.flatMap((workflow) => workflowFigures(result.name, workflow)),
  ];
};

const workflowFigures = (job: string, workflow: WorkflowResult): readonly Figure[] => {
  const labels = { job, workflow: workflow.name };
  const { completed, failed } = workflow.shards;
  return [
    { metric: "workflow_elapsed_seconds", labels, value: workflow.elapsedMs / 1_000 },
    { metric: "workflow_shards", labels: { ...labels, outcome: "completed" }, value: completed },
    { metric: "workflow_shards", labels: { ...labels, outcome: "failed" }, value: failed },
    ...stepRows(workflow).flatMap((row) => rowFigures(labels, row)),
  ];
};

const rowFigures = (labels: Figure["labels"], row: StepRow): readonly Figure[] => {
  const own = { ...labels, datacenter: row.datacenter, measure: row.measure };
  return [
    { metric: "measure_total", labels: own, value: row.count },
    ...FIGURES.flatMap((figure): Figure[] => {
      const value = row[figure];
      return value === undefined ? [] : [{ metric: "measure", labels: { ...own, figure }, value }];
    }),
  ];
};
