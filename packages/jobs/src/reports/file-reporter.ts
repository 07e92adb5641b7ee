import { mkdir } from "node:fs/promises";
import { isAbsolute, join, relative, resolve, sep } from "node:path";
import { InvalidInputError, type Random } from "@holdfast/kernel";
import type { ReporterConfig } from "@holdfast/protocol/contract";
import { writeFileAtomically } from "./atomic-file.ts";
import type { ReportFormat } from "./report-format.ts";
import { reportName } from "./report-name.ts";
import type { Reporter, WorkflowReport } from "./reporter.ts";

export interface FileReporterOptions {
  readonly format: ReportFormat;
  readonly config: ReporterConfig;
  /** Every file stays inside. */
  readonly directory: string;
  readonly random: Random;
  /** Paths that this run has written already: two workflows whose names differ only by case must not overwrite each other. */
  readonly taken: Set<string>;
}

/**
 * Writes `<workflow>_workflow_results.<type>` and `<workflow>_step_results.<type>` into the directory, or into
 * `config.path` below it. `config.options.workflowResults` and `.stepResults` name the files instead.
 */
export const createFileReporter = (options: FileReporterOptions): Reporter => {
  const { format, config, directory, random, taken } = options;

  const write = async (
    report: WorkflowReport,
    kind: { readonly suffix: string; readonly option: string; readonly content: () => string },
  ): Promise<string> => {
    const given = config.options?.[kind.option];
    const name =
      typeof given === "string" ? given : `${reportName(report.workflow.name)}_${kind.suffix}.${format.type}`;
    const path = inside(directory, config.path ?? ".", name);
    const whenExists = taken.has(path) ? "number" : format.whenExists;
    taken.add(path);
    return writeFileAtomically(path, kind.content(), { whenExists, random });
  };

  return {
    type: format.type,
    open: async () => {
      await mkdir(inside(directory, config.path ?? "."), { recursive: true });
    },
    writeWorkflowResults: (report) =>
      write(report, {
        suffix: "workflow_results",
        option: "workflowResults",
        content: () => format.workflowResults(report),
      }),
    writeStepResults: (report) =>
      write(report, {
        suffix: "step_results",
        option: "stepResults",
        content: () => format.stepResults(report),
      }),
    close: async () => undefined,
  };
};

/** A job may come from elsewhere; its reports must not land anywhere. */
const inside = (directory: string, ...parts: readonly string[]): string => {
  const base = resolve(directory);
  const path = resolve(base, join(...parts));
  const away = relative(base, path);
  if (parts.some(isAbsolute) || away === ".." || away.startsWith(`..${sep}`)) {
    throw new InvalidInputError("reporting.path", parts.join("/"), `a path inside ${base}`);
  }
  return path;
};
