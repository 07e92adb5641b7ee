import { type CellProgress, type JobProjection, recentRate, shareDone } from "@holdfast/jobs/projection";
import type { ReactNode } from "react";
import { formatCount, formatDuration } from "../format.ts";
import { ProgressBar } from "./progress-bar.tsx";
import { StatusBadge } from "./status-badge.tsx";

/** One row per workflow and datacenter. */
export const WorkflowTable = ({ job }: { readonly job: JobProjection }): ReactNode => {
  const rows = Object.values(job.workflows).flatMap((workflow) =>
    Object.entries(workflow.cells).map(([datacenter, cell]) => ({ workflow, datacenter, cell })),
  );
  if (rows.length === 0) return <p className="muted">Waiting for a datacenter to take the job.</p>;
  return (
    <div className="scroll">
      <table>
        <thead>
          <tr>
            <th scope="col">Workflow</th>
            <th scope="col">Datacenter</th>
            <th scope="col">Status</th>
            <th scope="col">Progress</th>
            <th scope="col" className="number">
              Shards
            </th>
            <th scope="col" className="number">
              Rate
            </th>
            <th scope="col" className="number">
              Errors
            </th>
            <th scope="col" className="number">
              p50
            </th>
            <th scope="col" className="number">
              p95
            </th>
            <th scope="col" className="number">
              p99
            </th>
          </tr>
        </thead>
        <tbody>
          {rows.map(({ workflow, datacenter, cell }) => {
            const latency = latencyOf(job, workflow.workflowId, datacenter, cell);
            const fraction = shareDone(cell.status, cell);
            return (
              <tr key={`${workflow.workflowId} ${datacenter}`}>
                <td>{workflow.name}</td>
                <td>{datacenter === "" ? "–" : datacenter}</td>
                <td>
                  <StatusBadge status={cell.status} />
                </td>
                <td>
                  <ProgressBar
                    fraction={fraction}
                    tone={
                      cell.status === "failed"
                        ? "bad"
                        : cell.status === "completed"
                          ? "good"
                          : cell.status === "cancelled"
                            ? "warn"
                            : "live"
                    }
                    label={`Progress of ${workflow.name}`}
                  />
                </td>
                <td className="number">
                  {cell.shards.completed}/{cell.shards.total}
                  {cell.shards.failed > 0 ? `, ${cell.shards.failed} failed` : ""}
                </td>
                <td className="number">
                  {cell.status === "running" ? `${formatCount(recentRate(cell))}/s` : "–"}
                </td>
                <td className="number">{formatCount(cell.counters["errors"] ?? 0)}</td>
                <td className="number">{latency === undefined ? "–" : formatDuration(latency.p50)}</td>
                <td className="number">{latency === undefined ? "–" : formatDuration(latency.p95)}</td>
                <td className="number">{latency === undefined ? "–" : formatDuration(latency.p99)}</td>
              </tr>
            );
          })}
        </tbody>
      </table>
      {Object.values(job.workflows).map((workflow) =>
        workflow.error === undefined ? null : (
          <p key={workflow.workflowId} className="problem">
            {workflow.name}: {workflow.error}
          </p>
        ),
      )}
    </div>
  );
};

/** The exact figures once there is a result; the newest window's until then. */
const latencyOf = (job: JobProjection, workflowId: string, datacenter: string, cell: CellProgress) => {
  const result = job.result?.workflows.find((workflow) => workflow.workflowId === workflowId);
  const exact = result?.datacenters?.[datacenter]?.totals ?? result?.totals;
  const histograms = exact?.histograms ?? cell.windows.at(-1)?.histograms ?? {};
  const latency = histograms["latency"] ?? Object.values(histograms)[0];
  return latency === undefined || latency.count === 0 ? undefined : latency;
};
