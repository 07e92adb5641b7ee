import {
  type Clock,
  type Logger,
  type Random,
  silentLogger,
  systemClock,
  systemRandom,
} from "@holdfast/kernel";
import type { JobResult, ReporterConfig, WorkflowResult } from "@holdfast/protocol/contract";
import { csvFormat } from "./csv-format.ts";
import { createFileReporter } from "./file-reporter.ts";
import { jsonFormat } from "./json-format.ts";
import type { ReportFormat } from "./report-format.ts";
import type { Reporter, WorkflowReport } from "./reporter.ts";
import { xmlFormat } from "./xml-format.ts";

/** The reporters that run where the client is. */
export const LOCAL_REPORTER_TYPES = ["json", "csv", "xml"] as const;

export interface WriteReportsOptions {
  /** Files go here; it is created when missing. */
  readonly directory: string;
  /** The reporters that a workflow asked for itself, by its name within the job; they come beside the job's. */
  readonly workflowConfigs?: Readonly<Record<string, readonly ReporterConfig[]>>;
  /** Hears of each failure, with reporter type and workflow. Default: nobody. */
  readonly logger?: Logger;
  /** Default the system's. */
  readonly clock?: Clock;
  readonly random?: Random;
}

/** How one reporter did for one workflow. */
export interface ReportOutcome {
  readonly type: string;
  readonly workflow: string;
  /** The files that were written. */
  readonly paths: readonly string[];
  /** What failed, joined by "; ". Undefined: everything was written. */
  readonly error: { readonly message: string } | undefined;
  readonly elapsedMs: number;
}

const FORMATS: ReadonlyMap<string, ReportFormat> = new Map(
  [jsonFormat, csvFormat, xmlFormat].map((format) => [format.type, format]),
);

/**
 * Writes the results of every workflow of a job with every local reporter (JSON, CSV, XML; others are left to
 * the servers). Without any, as JSON.
 *
 * Guaranteed: never throws; each file appears whole or not at all; a failure is logged and told in the outcome
 * and keeps no other reporter or workflow from being written. JSON never replaces a file (it takes `_1`, `_2` …),
 * CSV and XML do.
 */
export const writeReports = async (
  result: JobResult,
  configs: readonly ReporterConfig[],
  options: WriteReportsOptions,
): Promise<readonly ReportOutcome[]> => {
  const taken = new Set<string>();
  const outcomes: ReportOutcome[] = [];
  for (const workflow of result.workflows) {
    const own = options.workflowConfigs?.[workflow.name] ?? [];
    for (const { config, format } of localReporters([...configs, ...own])) {
      const reporter = createFileReporter({
        format,
        config,
        directory: options.directory,
        random: options.random ?? systemRandom,
        taken,
      });
      outcomes.push(await runReporter(reporter, { job: result, workflow }, options));
    }
  }
  return outcomes;
};

const localReporters = (
  configs: readonly ReporterConfig[],
): readonly { readonly config: ReporterConfig; readonly format: ReportFormat }[] => {
  const found = configs.flatMap((config) => {
    const format = typeof config.type === "string" ? FORMATS.get(config.type.toLowerCase()) : undefined;
    return format === undefined ? [] : [{ config, format }];
  });
  return found.length > 0 ? found : [{ config: { type: "json" }, format: jsonFormat }];
};

/** Open, both results, close: what fails is told and does not keep the rest from happening. */
const runReporter = async (
  reporter: Reporter,
  report: WorkflowReport,
  { logger = silentLogger, clock = systemClock }: WriteReportsOptions,
): Promise<ReportOutcome> => {
  const { type } = reporter;
  const { name } = report.workflow satisfies WorkflowResult;
  const startedAt = clock.monotonicNow();
  const paths: string[] = [];
  const errors: string[] = [];
  const attempt = async (part: string, body: () => Promise<string | undefined>): Promise<boolean> => {
    try {
      const path = await body();
      if (path !== undefined) paths.push(path);
      return true;
    } catch (error) {
      const message = error instanceof Error ? error.message : String(error);
      errors.push(`${part}: ${message}`);
      logger.error({ err: error, reporter: type, workflow: name }, `reporter ${type} failed to ${part}`);
      return false;
    }
  };
  const isOpen = await attempt("open", async () => void (await reporter.open()));
  if (isOpen) {
    await attempt("write workflow results", () => reporter.writeWorkflowResults(report));
    await attempt("write step results", () => reporter.writeStepResults(report));
  }
  await attempt("close", async () => void (await reporter.close()));
  return {
    type,
    workflow: name,
    paths,
    error: errors.length === 0 ? undefined : { message: errors.join("; ") },
    elapsedMs: clock.monotonicNow() - startedAt,
  };
};
