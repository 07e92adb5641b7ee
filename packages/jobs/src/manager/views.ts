import { toWirePosition } from "@holdfast/coordination";
import type { JobSummary, JobView, Leader, WorkflowView } from "@holdfast/protocol/contract";
import type { JobRow } from "../model/job-table.ts";
import { shardCounts } from "./decide/result.ts";
import { isTerminal, isWorkflowTerminal, type JobState, type WorkflowState } from "./job-state.ts";

interface Progress {
  readonly done: number;
  readonly total: number;
}

/** What a view needs beside the state: figures that only the leader has, or what stands for them. */
export interface ViewFigures {
  progressOf(workflow: WorkflowState): Progress;
  fractionOf(workflow: WorkflowState): number;
  runningCount(workflow: WorkflowState): number;
}

/** Figures from completed shards alone, for a job that is not led here. */
export const storedFigures = (running: readonly number[]): ViewFigures => ({
  progressOf: ({ results }) => results.progress,
  fractionOf: ({ results, plan }) => results.completedCount / plan.shards,
  runningCount: ({ index }) => running[index] ?? 0,
});

export const jobViewOf = (
  job: JobState,
  context: {
    readonly figures: ViewFigures;
    readonly leader: Leader;
    readonly head: Parameters<typeof toWirePosition>[0];
    /** By the store's clock, or near it. */
    readonly now: number;
  },
): JobView => {
  const { figures, leader } = context;
  const progress = sumOf(job.workflows.map((workflow) => figures.progressOf(workflow)));
  const done = job.workflows.reduce(
    (sum, workflow) => sum + (isWorkflowTerminal(workflow.status) ? 1 : figures.fractionOf(workflow)),
    0,
  );
  return {
    jobId: job.jobId,
    name: job.spec.name,
    status: job.status,
    submittedAt: job.submittedAt,
    ...(job.finishedAt === undefined ? {} : { finishedAt: job.finishedAt }),
    elapsedMs: Math.max(0, (job.finishedAt ?? context.now) - job.submittedAt),
    datacenters: { [job.datacenter]: { status: job.status, progress, leader } },
    progress,
    fraction: isTerminal(job.status) ? 1 : done / job.workflows.length,
    workflows: job.workflows.map((workflow) => workflowViewOf(workflow, figures)),
    leader,
    head: toWirePosition(context.head),
    errors: [...job.errors],
    labels: { ...job.spec.labels },
  };
};

export const jobSummaryOf = (
  row: JobRow,
  context: { readonly datacenter: string; readonly progress: Progress; readonly now: number },
): JobSummary => ({
  jobId: row.jobId,
  name: row.name,
  status: row.status,
  submittedAt: row.submittedAt,
  ...(row.finishedAt === undefined ? {} : { finishedAt: row.finishedAt }),
  elapsedMs: Math.max(0, (row.finishedAt ?? context.now) - row.submittedAt),
  datacenters: [context.datacenter],
  progress: context.progress,
  labels: { ...row.labels },
});

const workflowViewOf = (workflow: WorkflowState, figures: ViewFigures): WorkflowView => ({
  workflowId: workflow.spec.id,
  name: workflow.spec.name,
  workflow: workflow.spec.workflow,
  status: workflow.status,
  dependsOn: [...workflow.spec.dependsOn],
  shards: { ...shardCounts(workflow), running: figures.runningCount(workflow) },
  progress: figures.progressOf(workflow),
  totals: workflow.results.totals(),
});

const sumOf = (parts: readonly Progress[]): Progress =>
  parts.reduce((sum, { done, total }) => ({ done: sum.done + done, total: sum.total + total }), {
    done: 0,
    total: 0,
  });
