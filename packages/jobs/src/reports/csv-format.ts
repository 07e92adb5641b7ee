import type { JobResult } from "@holdfast/protocol/contract";
import { stringify } from "csv-stringify/sync";
import { type ReportFormat, type WorkflowRow, workflowRows } from "./report-format.ts";
import { type StepRow, stepRows } from "./step-rows.ts";

const WORKFLOW_COLUMNS: readonly (keyof WorkflowRow)[] = [
  "jobId",
  "workflowId",
  "name",
  "workflow",
  "datacenter",
  "status",
  "shards",
  "shardsCompleted",
  "shardsFailed",
  "elapsedMs",
  "startedAt",
  "finishedAt",
  "errorCode",
  "errorMessage",
];

const STEP_COLUMNS: readonly (keyof StepRow)[] = [
  "datacenter",
  "measure",
  "kind",
  "count",
  "min",
  "mean",
  "max",
  "p50",
  "p90",
  "p95",
  "p99",
  "p999",
];

/** One row per datacenter and one for all (with an empty datacenter). Texts that a spreadsheet would run are defused. */
export const csvFormat: ReportFormat = {
  type: "csv",
  whenExists: "overwrite",
  workflowResults: (report) => csv(workflowRows(report), WORKFLOW_COLUMNS),
  stepResults: ({ job, workflow }) =>
    csv(
      stepRows(workflow).map((row) => ({ jobId: job.jobId, name: workflow.name, ...row })),
      ["jobId", "name", ...STEP_COLUMNS],
    ),
};

/** Every measure of every workflow of a job. */
export const renderCsv = (job: JobResult): string =>
  csv(
    job.workflows.flatMap((workflow) =>
      stepRows(workflow).map((row) => ({
        jobId: job.jobId,
        name: workflow.name,
        status: workflow.status,
        ...row,
      })),
    ),
    ["jobId", "name", "status", ...STEP_COLUMNS],
  );

const csv = (rows: readonly object[], columns: readonly string[]): string =>
  stringify([...rows], { header: true, columns: [...columns], escape_formulas: true });
