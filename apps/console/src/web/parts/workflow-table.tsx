import { type CellProgress, type JobProjection, recentRate, shareDone } from "@holdfast/jobs/projection";
import type { ReactNode } from "react";
import { formatCount, formatDuration } from "../format.ts";
import { ProgressBar } from "./progress-bar.tsx";
import { StatusBadge } from "./status-badge.tsx";
import { Table } from "./table.tsx";

/** One row per workflow and datacenter. */
export const WorkflowTable = ({ job }: { readonly job: JobProjection }): ReactNode => {
  const rows = Object.values(job.workflows).flatMap((workflow) =>
    Object.entries(workflow.cells).map(([datacenter, cell]) => ({ workflow, datacenter, cell })),
  );
  if (rows.length === 0) return <p className="muted">Waiting for a datacenter to take the job.</p>;
  return (
    <>
      <Table
        columns={[
          "Workflow",
          "Datacenter",
          "Status",
          "Progress",
          { number: "Shards" },
          { number: "Rate" },
          { number: "Errors" },
          { number: "p50" },
          { number: "p95" },
          { number: "p99" },
        ]}
      >
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
      </Table>
      {Object.values(job.workflows).map((workflow) =>
        workflow.error === undefined ? null : (
          <p key={workflow.workflowId} className="problem">
            {workflow.name}: {workflow.error}
          </p>
        ),
      )}
    </>
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
