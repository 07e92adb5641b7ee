import type { WorkflowReport } from "./reporter.ts";

/** How results become the text of a file. */
export interface ReportFormat {
  /** The reporter's type, lower case; also the file's extension. */
  readonly type: string;
  readonly whenExists: "overwrite" | "number";
  workflowResults(report: WorkflowReport): string;
  stepResults(report: WorkflowReport): string;
}

/** The row of a workflow, and one for each of its datacenters. */
export interface WorkflowRow {
  readonly jobId: string;
  readonly workflowId: string;
  readonly name: string;
  readonly workflow: string;
  /** Empty: all datacenters together. */
  readonly datacenter: string;
  readonly status: string;
  readonly shards: number;
  readonly shardsCompleted: number;
  readonly shardsFailed: number;
  readonly elapsedMs: number;
  /** ISO 8601, empty when not known. */
  readonly startedAt: string;
  readonly finishedAt: string;
  readonly errorCode: string;
  readonly errorMessage: string;
}

export const workflowRows = ({ job, workflow }: WorkflowReport): readonly WorkflowRow[] => {
  const names = {
    jobId: job.jobId,
    workflowId: workflow.workflowId,
    name: workflow.name,
    workflow: workflow.workflow,
  };
  const whole: WorkflowRow = {
    ...names,
    datacenter: "",
    ...outcomeOf(workflow),
    startedAt: instant(workflow.startedAt),
    finishedAt: instant(workflow.finishedAt),
  };
  const parts = Object.entries(workflow.datacenters ?? {}).map(
    ([datacenter, part]): WorkflowRow => ({
      ...names,
      datacenter,
      ...outcomeOf(part),
      startedAt: "",
      finishedAt: "",
    }),
  );
  return [whole, ...parts];
};

const outcomeOf = ({
  status,
  shards,
  elapsedMs,
  error,
}: Pick<WorkflowReport["workflow"], "status" | "shards" | "elapsedMs" | "error">) => ({
  status,
  shards: shards.total,
  shardsCompleted: shards.completed,
  shardsFailed: shards.failed,
  elapsedMs,
  errorCode: error?.code ?? "",
  errorMessage: error?.message ?? "",
});

const instant = (at: number | undefined): string => (at === undefined ? "" : new Date(at).toISOString());
