import { toWirePosition } from "@holdfast/coordination";
import type {
  JobResult,
  JobStatus,
  JobSummary,
  JobView,
  Leader,
  WorkflowView,
} from "@holdfast/protocol/contract";
import { boundedSum } from "../model/bounded-sum.ts";
import type { JobRow } from "../model/job-table.ts";
import { type GateJob, isTerminal, storedProgress } from "./gate-job.ts";
import { combineStatuses, jobFraction, NO_PROGRESS, sumProgress } from "./merge/progress.ts";

const isStarted = (status: JobStatus): boolean =>
  status !== "submitted" && status !== "queued" && status !== "dispatching";

/** What `jobs.get` says of a job whose state is at hand. */
export const viewOfJob = (
  job: GateJob,
  options: { readonly leader: Leader; readonly wallNow: number },
): JobView => {
  const partProgress = job.parts.map((part) => sumProgress([...part.live.values()]));
  const { done, total } = sumProgress(partProgress.map((progress) => ({ ...NO_PROGRESS, ...progress })));
  const endedAt = job.finishedAt ?? options.wallNow;
  return {
    jobId: job.jobId,
    name: job.spec.name,
    status: job.status,
    submittedAt: job.submittedAt,
    ...(job.finishedAt === undefined ? {} : { finishedAt: job.finishedAt }),
    elapsedMs: Math.max(0, endedAt - job.submittedAt),
    datacenters: Object.fromEntries(
      job.parts.map((part, index) => [
        part.datacenter,
        {
          status: part.status,
          progress: { done: partProgress[index]?.done ?? 0, total: partProgress[index]?.total ?? 0 },
          ...(part.leader === undefined ? {} : { leader: part.leader }),
        },
      ]),
    ),
    progress: { done, total },
    fraction: isTerminal(job.status)
      ? 1
      : jobFraction(
          job.parts.map((part, index) => ({
            isEnded: part.phase === "ended",
            isStarted: isStarted(part.status),
            progress: partProgress[index] ?? NO_PROGRESS,
          })),
        ),
    workflows: job.spec.workflows.map((workflow) => workflowView(job, workflow)),
    leader: options.leader,
    head: toWirePosition(job.head ?? { epoch: 0n, offset: 0n }),
    errors: job.parts.flatMap((part) => part.errors.map((error) => `${part.datacenter}: ${error}`)),
    labels: job.spec.labels,
  };
};

const workflowView = (job: GateJob, workflow: GateJob["spec"]["workflows"][number]): WorkflowView => {
  const live = job.parts.map((part) => part.live.get(workflow.id) ?? NO_PROGRESS);
  const { done, total, shards, counters } = sumProgress(live);
  return {
    workflowId: workflow.id,
    name: workflow.name,
    workflow: workflow.workflow,
    status: combineStatuses(live.map(({ status }) => status)),
    dependsOn: workflow.dependsOn,
    shards,
    progress: { done, total },
    totals: { counters: { ...counters }, histograms: {} },
  };
};

/** The same for a job that has ended, with the exact figures of its result. */
export const viewOfResult = (
  job: GateJob,
  options: {
    readonly leader: Leader;
    readonly result: JobResult;
    /** How far each datacenter was. */
    readonly progress: ReadonlyMap<string, { readonly done: number; readonly total: number }>;
  },
): JobView => {
  const { result, progress } = options;
  const view = viewOfJob(job, { leader: options.leader, wallNow: result.finishedAt });
  const byId = new Map(result.workflows.map((workflow) => [workflow.workflowId, workflow]));
  return {
    ...view,
    status: result.status,
    finishedAt: result.finishedAt,
    elapsedMs: result.elapsedMs,
    progress: sumOf([...progress.values()]),
    fraction: 1,
    datacenters: Object.fromEntries(
      Object.entries(view.datacenters).map(([name, part]) => [
        name,
        {
          ...part,
          status: result.datacenters[name]?.status ?? part.status,
          progress: progress.get(name) ?? part.progress,
        },
      ]),
    ),
    workflows: view.workflows.map((workflow) => {
      const ended = byId.get(workflow.workflowId);
      if (ended === undefined) return workflow;
      return {
        ...workflow,
        status: ended.status,
        shards: { ...ended.shards, running: 0 },
        totals: ended.totals,
      };
    }),
    errors: result.errors,
  };
};

export const summaryOfJob = (job: GateJob, wallNow: number): JobSummary => {
  const { done, total } = sumProgress(job.parts.flatMap((part) => [...part.live.values()]));
  return {
    jobId: job.jobId,
    name: job.spec.name,
    status: job.status,
    submittedAt: job.submittedAt,
    ...(job.finishedAt === undefined ? {} : { finishedAt: job.finishedAt }),
    elapsedMs: Math.max(0, (job.finishedAt ?? wallNow) - job.submittedAt),
    datacenters: job.parts.map(({ datacenter }) => datacenter),
    progress: { done, total },
    labels: job.spec.labels,
  };
};

export const summaryOfRow = (row: JobRow, wallNow: number): JobSummary => {
  const stored = storedProgress(row.state);
  return {
    jobId: row.jobId,
    name: row.name,
    status: row.status,
    submittedAt: row.submittedAt,
    ...(row.finishedAt === undefined ? {} : { finishedAt: row.finishedAt }),
    elapsedMs: Math.max(0, (row.finishedAt ?? wallNow) - row.submittedAt),
    datacenters: [...stored.keys()],
    progress: sumOf([...stored.values()]),
    labels: { ...row.labels },
  };
};

const sumOf = (
  parts: readonly { readonly done: number; readonly total: number }[],
): { readonly done: number; readonly total: number } => ({
  done: parts.reduce((sum, { done }) => boundedSum(sum, done), 0),
  total: parts.reduce((sum, { total }) => boundedSum(sum, total), 0),
});
