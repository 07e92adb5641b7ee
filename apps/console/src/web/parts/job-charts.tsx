import type { CellProgress, JobProjection } from "@holdfast/jobs/projection";
import { type ReactNode, useMemo } from "react";
import { formatCount, formatDuration } from "../format.ts";
import { type Series, TimeChart } from "./time-chart.tsx";

const COLORS = ["--series-1", "--series-2", "--series-3", "--series-4", "--series-5"];

interface NamedCell {
  readonly name: string;
  readonly cell: CellProgress;
}

/** Rate per workflow and datacenter, and latency where a workflow records one. */
export const JobCharts = ({ job }: { readonly job: JobProjection }): ReactNode => {
  const { times, rates, latencies } = useMemo(() => {
    const cells = namedCells(job).slice(0, COLORS.length);
    const allTimes = [
      ...new Set(cells.flatMap(({ cell }) => cell.windows.map((window) => window.windowStart))),
    ].sort((a, b) => a - b);
    const at = (cell: CellProgress, pick: (window: CellProgress["windows"][number]) => number | null) => {
      const byTime = new Map(cell.windows.map((window) => [window.windowStart, pick(window)]));
      return allTimes.map((time) => byTime.get(time) ?? null);
    };
    const rateSeries: Series[] = cells.map(({ name, cell }, index) => ({
      label: name,
      color: COLORS[index] ?? "--series-1",
      values: at(cell, (window) => window.rate),
    }));
    const timed = cells.find(({ cell }) =>
      cell.windows.some((window) => window.histograms["latency"] !== undefined),
    );
    const latencySeries: Series[] =
      timed === undefined
        ? []
        : (["p50", "p95", "p99"] as const).map((percentile, index) => ({
            label: `${percentile} ${timed.name}`,
            color: COLORS[index] ?? "--series-1",
            values: at(timed.cell, (window) => {
              const latency = window.histograms["latency"];
              return latency === undefined || latency.count === 0 ? null : latency[percentile];
            }),
          }));
    return { times: allTimes.map((time) => time / 1000), rates: rateSeries, latencies: latencySeries };
  }, [job]);
  if (times.length < 2) return null;
  return (
    <section className="card charts">
      <TimeChart
        title="Rate, units per second"
        times={times}
        series={rates}
        format={(value) => formatCount(value)}
      />
      {latencies.length === 0 ? null : (
        <TimeChart
          title="Latency"
          times={times}
          series={latencies}
          format={(value) => formatDuration(value)}
        />
      )}
    </section>
  );
};

const namedCells = (job: JobProjection): readonly NamedCell[] =>
  Object.values(job.workflows).flatMap((workflow) =>
    Object.entries(workflow.cells)
      .filter(([, cell]) => cell.windows.length > 0)
      .map(([datacenter, cell]) => ({
        name: datacenter === "" ? workflow.name : `${workflow.name}, ${datacenter}`,
        cell,
      })),
  );
