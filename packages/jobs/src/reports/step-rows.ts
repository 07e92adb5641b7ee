import type { Measurements, WorkflowResult } from "@holdfast/protocol/contract";

/** One measure of a workflow, in one datacenter or (`datacenter` empty) in all of them. */
export interface StepRow {
  readonly datacenter: string;
  readonly measure: string;
  readonly kind: "counter" | "histogram";
  /** The sum of a counter, the number of values of a histogram. */
  readonly count: number;
  readonly min?: number;
  readonly mean?: number;
  readonly max?: number;
  readonly p50?: number;
  readonly p90?: number;
  readonly p95?: number;
  readonly p99?: number;
  readonly p999?: number;
}

/** Merged measures first, then those of each datacenter; by name within. */
export const stepRows = (workflow: WorkflowResult): readonly StepRow[] => [
  ...rowsOf("", workflow.totals),
  ...Object.entries(workflow.datacenters ?? {}).flatMap(([datacenter, { totals }]) =>
    rowsOf(datacenter, totals),
  ),
];

const rowsOf = (datacenter: string, { counters, histograms }: Measurements): readonly StepRow[] => [
  ...sorted(counters).map(([measure, count]): StepRow => ({ datacenter, measure, kind: "counter", count })),
  ...sorted(histograms).map(([measure, { encoded: _encoded, ...figures }]): StepRow => {
    return { datacenter, measure, kind: "histogram", ...figures };
  }),
];

const sorted = <T>(record: Readonly<Record<string, T>>): readonly (readonly [string, T])[] =>
  Object.entries(record).sort(([a], [b]) => (a < b ? -1 : 1));
