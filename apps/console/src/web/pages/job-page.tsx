import { type JobProjection, jobFraction, workflowTotals } from "@holdfast/jobs/projection";
import type { JobView } from "@holdfast/protocol/contract";
import { type ReactNode, useEffect, useState } from "react";
import type { ClusterData, SilentDatacenter } from "../../messages.ts";
import { formatClock, formatCount, formatDuration } from "../format.ts";
import { Fact } from "../parts/fact.tsx";
import { JobActions } from "../parts/job-actions.tsx";
import { JobCharts } from "../parts/job-charts.tsx";
import { Link } from "../parts/link.tsx";
import { LogTail } from "../parts/log-tail.tsx";
import { ProgressBar } from "../parts/progress-bar.tsx";
import { SilentNote } from "../parts/silent-note.tsx";
import { EmptyState, ErrorState, LoadingState } from "../parts/states.tsx";
import { StatusBadge } from "../parts/status-badge.tsx";
import { type GraphNode, WorkflowGraph } from "../parts/workflow-graph.tsx";
import { WorkflowTable } from "../parts/workflow-table.tsx";
import { call } from "../rest.ts";
import { useJob, useNow } from "../use-live.ts";
import { useSnapshot } from "../use-snapshot.ts";

export const JobPage = ({ jobId }: { readonly jobId: string }): ReactNode => {
  const job = useJob(jobId);
  const isOver = job.data?.result !== undefined;
  const view = useJobView(jobId, isOver);
  // A log that stands still says nothing of why.
  const cluster = useSnapshot<ClusterData>("cluster", { enabled: !isOver });
  if (job.error !== undefined && job.data === undefined) {
    return (
      <EmptyState title="This job cannot be shown">
        <p>{job.error}</p>
        <Link to="/jobs">See all jobs</Link>
      </EmptyState>
    );
  }
  if (job.data === undefined) return <LoadingState lines={8} />;
  return (
    <JobDetails
      jobId={jobId}
      job={job.data}
      view={view}
      silent={isOver ? [] : (cluster.data?.silent ?? [])}
      historyTrimmed={job.historyTrimmed}
      error={job.error}
    />
  );
};

/** What the log does not say: names of dependencies, where the job may run. Asked once, and once more at the end. */
const useJobView = (jobId: string, isOver: boolean): JobView | undefined => {
  const [view, setView] = useState<JobView>();
  // biome-ignore lint/correctness/useExhaustiveDependencies: the end of the job is the reason to ask again
  useEffect(() => {
    let isCurrent = true;
    call<JobView>("GET", `/api/jobs/${encodeURIComponent(jobId)}`).then(
      (answer) => isCurrent && setView(answer),
      () => undefined,
    );
    return () => {
      isCurrent = false;
    };
  }, [jobId, isOver]);
  return view;
};

const TONE: Readonly<Record<string, "live" | "good" | "bad" | "warn">> = {
  completed: "good",
  failed: "bad",
  timeout: "bad",
  cancelled: "warn",
  cancelling: "warn",
  partial: "warn",
};

const JobDetails = (props: {
  readonly jobId: string;
  readonly job: JobProjection;
  readonly view: JobView | undefined;
  readonly silent: readonly SilentDatacenter[];
  readonly historyTrimmed: boolean;
  readonly error: string | undefined;
}): ReactNode => {
  const { jobId, job, view } = props;
  const isOver = job.result !== undefined;
  const now = useNow(500, !isOver);
  const fraction = jobFraction(job);
  const elapsedMs = (job.result?.finishedAt ?? now) - (job.startedAt ?? now);
  const errors = job.result?.errors ?? [];
  return (
    <>
      <div className="title-row">
        <div>
          <h1>
            {view?.name ?? "Job"} <StatusBadge status={job.status} />
          </h1>
          <p className="mono muted">{jobId}</p>
        </div>
        <JobActions jobId={jobId} isOver={isOver} />
      </div>
      {props.error === undefined ? null : <ErrorState title="Live updates stopped" message={props.error} />}
      {props.historyTrimmed ? (
        <p className="banner">The beginning of this job’s history is no longer kept.</p>
      ) : null}
      {props.silent
        .filter(({ datacenter }) => datacenter in job.managers)
        .map((silent) => (
          <p key={silent.datacenter} className="banner warning">
            <SilentNote silent={silent}>Its part of this job is shown as it was then.</SilentNote>
          </p>
        ))}
      <section className="card">
        <div className="progress-row">
          <ProgressBar fraction={fraction} tone={TONE[job.status] ?? "live"} label="Progress of the job" />
          <strong>{fraction === undefined ? "…" : `${Math.floor(fraction * 100)} %`}</strong>
        </div>
        <Facts job={job} elapsedMs={elapsedMs} />
        {errors.length === 0 && job.message !== "" && job.status === "failed" ? (
          <p className="problem">{job.message}</p>
        ) : null}
        {errors.map((error) => (
          <p key={error} className="problem">
            {error}
          </p>
        ))}
      </section>
      <section className="card">
        <h2>Workflows</h2>
        <WorkflowGraph nodes={graphNodes(job, view)} />
        <WorkflowTable job={job} />
      </section>
      <JobCharts job={job} />
      <section className="card">
        <h2>Log</h2>
        <LogTail lines={job.logs} />
      </section>
    </>
  );
};

const Facts = ({
  job,
  elapsedMs,
}: {
  readonly job: JobProjection;
  readonly elapsedMs: number;
}): ReactNode => {
  const totals = Object.values(job.workflows).map(workflowTotals);
  const active = totals.find((total) => total.rate > 0);
  const remaining = active === undefined || active.total === 0 ? 0 : active.total - active.done;
  return (
    <dl className="facts">
      <Fact label="Elapsed" value={formatDuration(Math.max(0, elapsedMs))} />
      {job.startedAt === undefined ? null : <Fact label="Started" value={formatClock(job.startedAt)} />}
      {job.result === undefined && active !== undefined ? (
        <Fact label="Rate" value={`${formatCount(active.rate)} / s`} />
      ) : null}
      {job.result === undefined && active !== undefined && remaining > 0 ? (
        <Fact label="Remaining" value={formatDuration((remaining / active.rate) * 1000)} />
      ) : null}
      {job.gate === undefined ? null : (
        <Fact label="Gate" value={`${job.gate.nodeId}, fence ${job.gate.fence}`} />
      )}
      {Object.entries(job.managers).map(([datacenter, leader]) => (
        <Fact
          key={datacenter}
          label={datacenter === "" ? "Manager" : datacenter}
          value={`${leader.nodeId}, fence ${leader.fence}`}
        />
      ))}
      {job.retryCount === 0 ? null : <Fact label="Retries" value={formatCount(job.retryCount)} />}
      {job.takeOverCount === 0 ? null : <Fact label="Take-overs" value={formatCount(job.takeOverCount)} />}
    </dl>
  );
};

const graphNodes = (job: JobProjection, view: JobView | undefined): readonly GraphNode[] => {
  const dependencies = new Map(
    (view?.workflows ?? []).map((workflow) => [workflow.name, workflow.dependsOn]),
  );
  return Object.values(job.workflows).map((workflow) => {
    const { done, total, shards } = workflowTotals(workflow);
    const detail =
      total > 0 && (workflow.status === "running" || workflow.status === "completed")
        ? `${formatCount(done)} of ${formatCount(total)}`
        : `${shards.completed} of ${shards.total} shards`;
    return {
      id: workflow.workflowId,
      name: workflow.name,
      status: workflow.status,
      detail: workflow.status === "pending" ? "waiting" : detail,
      dependsOn: dependencies.get(workflow.name) ?? [],
    };
  });
};
