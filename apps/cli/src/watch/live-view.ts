import {
  type CellProgress,
  type JobProjection,
  jobFraction,
  recentRate,
  type WorkflowProjection,
  workflowTotals,
} from "@holdfast/jobs/projection";
import { formatBar, formatCount, formatDuration, formatRate, oneLine } from "../terminal/format.ts";
import { type Style, statusFormat } from "../terminal/style.ts";
import { cut, renderTable } from "../terminal/table.ts";

interface CellRow {
  readonly workflow: string;
  readonly datacenter: string;
  readonly cell: CellProgress;
}

/** The screen of a running job: one bar, one row per workflow and datacenter, the newest log lines. Pure. */
export const renderLiveView = (
  projection: JobProjection,
  context: {
    readonly jobId: string;
    readonly now: number;
    readonly width: number;
    readonly connected: boolean;
    readonly style: Style;
  },
): string[] => {
  const { style } = context;
  const workflows = Object.values(projection.workflows);
  const elapsedMs = Math.max(
    0,
    (projection.result?.finishedAt ?? context.now) - (projection.startedAt ?? context.now),
  );
  const lines = [
    `${style("bold", context.jobId)}  ${style(statusFormat(projection.status), projection.status)}  ${style("dim", formatDuration(elapsedMs))}${
      context.connected ? "" : `  ${style("yellow", "reconnecting …")}`
    }`,
    progressLine(projection, workflows, context),
  ];
  const rows: CellRow[] = workflows.flatMap((workflow) =>
    Object.entries(workflow.cells).map(([datacenter, cell]) => ({
      workflow: workflow.name,
      datacenter,
      cell,
    })),
  );
  if (rows.length > 0) lines.push("", ...renderTable(rows, columns(style), style).split("\n"));
  for (const workflow of workflows) {
    if (workflow.error !== undefined)
      lines.push(`${style("red", "✗")} ${oneLine(`${workflow.name}: ${workflow.error}`)}`);
  }
  const logs = projection.logs.slice(-5);
  if (logs.length > 0)
    lines.push(
      "",
      ...logs.map((log) => style("dim", oneLine(`${log.level} ${log.worker} #${log.shard}: ${log.message}`))),
    );
  // A longer one would take two lines of the screen, which is drawn over by their number.
  return lines.map((line) => cut(line, context.width));
};

const progressLine = (
  projection: JobProjection,
  workflows: readonly WorkflowProjection[],
  context: { readonly width: number; readonly style: Style },
): string => {
  const fraction = jobFraction(projection);
  if (fraction === undefined) return context.style("dim", "waiting for the first worker …");
  const active = workflows.find((workflow) => workflow.status === "running") ?? workflows.at(-1);
  const totals = active === undefined ? undefined : workflowTotals(active);
  const rate = totals?.rate ?? 0;
  const remaining = totals === undefined ? 0 : Math.max(0, totals.total - totals.done);
  const eta =
    projection.result !== undefined || rate <= 0 || remaining === 0
      ? ""
      : `  ETA ${formatDuration((remaining / rate) * 1000)}`;
  const numbers =
    totals === undefined || totals.done === 0
      ? ""
      : `  ${formatCount(totals.done)}${totals.total > 0 ? ` / ${formatCount(totals.total)}` : ""}`;
  const bar = formatBar(fraction, Math.max(10, Math.min(40, context.width - 50)));
  return `${context.style(statusFormat(projection.status), bar)} ${String(Math.floor(fraction * 100)).padStart(3)} %${numbers}  ${formatRate(rate)}${eta}`;
};

const percentile = (row: CellRow, name: "p50" | "p95" | "p99"): string => {
  const histograms = row.cell.windows.at(-1)?.histograms ?? {};
  const summary = histograms["latency"] ?? Object.values(histograms)[0];
  return summary === undefined || summary.count === 0 ? "-" : formatDuration(summary[name]);
};

const columns = (style: Style) => [
  { title: "workflow", value: (row: CellRow) => row.workflow, maxWidth: 28 },
  {
    title: "datacenter",
    value: (row: CellRow) => (row.datacenter === "" ? "-" : row.datacenter),
    maxWidth: 16,
  },
  { title: "status", value: (row: CellRow) => style(statusFormat(row.cell.status), row.cell.status) },
  {
    title: "shards",
    value: (row: CellRow) => `${row.cell.shards.completed}/${row.cell.shards.total}`,
    align: "right" as const,
  },
  { title: "done", value: (row: CellRow) => formatCount(row.cell.done), align: "right" as const },
  { title: "rate", value: (row: CellRow) => formatRate(recentRate(row.cell)), align: "right" as const },
  {
    title: "errors",
    value: (row: CellRow) => formatCount(row.cell.counters["errors"] ?? 0),
    align: "right" as const,
  },
  { title: "p50", value: (row: CellRow) => percentile(row, "p50"), align: "right" as const },
  { title: "p95", value: (row: CellRow) => percentile(row, "p95"), align: "right" as const },
  { title: "p99", value: (row: CellRow) => percentile(row, "p99"), align: "right" as const },
];
