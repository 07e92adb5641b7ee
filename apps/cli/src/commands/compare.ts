import {
  type ComparedWorkflow,
  compareResults,
  type Difference,
  type JobComparison,
  SIGNIFICANCE_LEVELS,
  type SignificanceLevel,
  type TestedDifference,
} from "@holdfast/jobs/compare";
import { Command, Option } from "commander";
import { formatAge, formatCount, formatDuration } from "../terminal/format.ts";
import type { Session } from "../terminal/session.ts";
import { statusFormat } from "../terminal/style.ts";
import { type Column, renderTable } from "../terminal/table.ts";
import { type ClientFlags, withClient, withClientFlags } from "./client-command.ts";

export const compareCommand = (session: Session): Command =>
  withClientFlags(new Command("compare"))
    .description("compare the results of two finished jobs: percentiles, rates, and what is more than chance")
    .argument("<a>", "the job to compare with")
    .argument("<b>", "the job to judge")
    .addOption(
      new Option("--level <level>", "how often a difference that is none may be called one")
        .choices(SIGNIFICANCE_LEVELS.map(String))
        .default(String(0.01)),
    )
    .action(async (a: string, b: string, flags: ClientFlags & { level: string }) => {
      const options = { signal: session.signal, timeoutMs: flags.wait ?? 5_000 };
      const [resultA, resultB] = await withClient(session, flags, (client) =>
        Promise.all([client.result(a, options), client.result(b, options)]),
      );
      const comparison = compareResults(resultA, resultB, {
        level: Number(flags.level) as SignificanceLevel,
      });
      if (flags.json) session.printJson(comparison);
      else session.print(renderComparison(session, comparison));
    });

const renderComparison = (session: Session, comparison: JobComparison): string => {
  const { style } = session;
  const head = (mark: string, job: JobComparison["a"]): string =>
    `${style("bold", mark)}  ${job.jobId}  ${job.name}  ${style(statusFormat(job.status), job.status)}  ${style("dim", formatAge(session.clock.wallNow() - job.submittedAt))}`;
  const lines = [head("A", comparison.a), head("B", comparison.b)];
  for (const workflow of comparison.workflows) lines.push("", ...renderWorkflow(session, workflow));
  lines.push(
    "",
    style(
      "dim",
      `* more than chance explains (one in ${Math.round(1 / comparison.level)} equal pairs would be marked)   ? too few values to tell`,
    ),
  );
  return lines.join("\n");
};

interface Row {
  readonly name: string;
  readonly difference: Difference & Partial<TestedDifference>;
  readonly isTested: boolean;
  readonly format: (value: number) => string;
}

const renderWorkflow = (session: Session, workflow: ComparedWorkflow): readonly string[] => {
  const { style } = session;
  const side = (status: string | undefined): string =>
    status === undefined ? style("dim", "not in this job") : style(statusFormat(status), status);
  const lines = [`${style("bold", workflow.name)}  A ${side(workflow.statusA)}  B ${side(workflow.statusB)}`];
  if (workflow.elapsedMs === undefined) return lines;
  const rows: Row[] = [
    { name: "elapsed", difference: workflow.elapsedMs, isTested: false, format: formatDuration },
    ...workflow.counters.map(
      ({ name, perSecond }): Row => ({
        name: `${name} per second`,
        difference: perSecond,
        isTested: true,
        format: formatFigure,
      }),
    ),
    ...workflow.histograms.flatMap(({ name, percentiles, mean, max }): Row[] => [
      { name: `${name} mean`, difference: mean, isTested: false, format: formatFigure },
      ...percentiles.map(
        (figure): Row => ({
          name: `${name} p${figure.percent}`,
          difference: figure,
          isTested: true,
          format: formatFigure,
        }),
      ),
      { name: `${name} max`, difference: max, isTested: false, format: formatFigure },
    ]),
  ];
  lines.push(renderTable(rows, columns(session), style));
  for (const [mark, names] of [
    ["A", workflow.onlyInA],
    ["B", workflow.onlyInB],
  ] as const) {
    if (names.length > 0) lines.push(style("dim", `only ${mark} measured ${names.join(", ")}`));
  }
  return lines;
};

const columns = ({ style }: Session): readonly Column<Row>[] => [
  { title: "", value: ({ name }) => name },
  { title: "A", value: ({ difference, format }) => format(difference.a), align: "right" },
  { title: "B", value: ({ difference, format }) => format(difference.b), align: "right" },
  { title: "change", value: ({ difference }) => formatChange(difference), align: "right" },
  {
    title: "",
    value: ({ difference, isTested }) => {
      if (!isTested) return "";
      if (difference.isSignificant === undefined) return style("dim", "?");
      return difference.isSignificant ? style("yellow", "*") : "";
    },
  },
];

/** Histograms hold whatever a workflow measures: three digits are enough to compare. */
const formatFigure = (value: number): string =>
  Math.abs(value) >= 1_000 ? formatCount(Math.round(value)) : String(Number(value.toPrecision(4)));

const formatChange = ({ change }: Difference): string => {
  if (change === undefined) return "new";
  const percent = change * 100;
  return `${percent > 0 ? "+" : ""}${percent.toFixed(1)} %`;
};
