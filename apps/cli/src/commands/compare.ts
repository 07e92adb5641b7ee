import {
  type ComparedWorkflow,
  compareResults,
  type JobComparison,
  SIGNIFICANCE_LEVELS,
  type SignificanceLevel,
} from "@holdfast/jobs/compare";
import {
  type ComparedFigure,
  comparedFigures,
  formatChange,
  formatFigure,
} from "@holdfast/jobs/compare/figures";
import { Command, Option } from "commander";
import { formatAge, formatDuration } from "../terminal/format.ts";
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

const renderWorkflow = (session: Session, workflow: ComparedWorkflow): readonly string[] => {
  const { style } = session;
  const side = (status: string | undefined): string =>
    status === undefined ? style("dim", "not in this job") : style(statusFormat(status), status);
  const lines = [`${style("bold", workflow.name)}  A ${side(workflow.statusA)}  B ${side(workflow.statusB)}`];
  if (workflow.elapsedMs === undefined) return lines;
  lines.push(renderTable(comparedFigures(workflow), columns(session), style));
  for (const [mark, names] of [
    ["A", workflow.onlyInA],
    ["B", workflow.onlyInB],
  ] as const) {
    if (names.length > 0) lines.push(style("dim", `only ${mark} measured ${names.join(", ")}`));
  }
  return lines;
};

const columns = ({ style }: Session): readonly Column<ComparedFigure>[] => [
  { title: "", value: ({ name }) => name },
  { title: "A", value: (figure) => formatSide(figure, "a"), align: "right" },
  { title: "B", value: (figure) => formatSide(figure, "b"), align: "right" },
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

const formatSide = ({ difference, unit }: ComparedFigure, side: "a" | "b"): string =>
  (unit === "ms" ? formatDuration : formatFigure)(difference[side]);
