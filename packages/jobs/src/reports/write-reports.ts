import {
  type Clock,
  type Logger,
  type Random,
  silentLogger,
  systemClock,
  systemRandom,
} from "@holdfast/kernel";
import type { JobResult, ReporterConfig } from "@holdfast/protocol/contract";
import { csvFormat } from "./csv-format.ts";
import { createFileReporter } from "./file-reporter.ts";
import { jsonFormat } from "./json-format.ts";
import type { ReportFormat } from "./report-format.ts";
import { type ReportOutcome, runReporter } from "./run-reporter.ts";
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
  const { directory, logger = silentLogger, clock = systemClock, random = systemRandom } = options;
  const taken = new Set<string>();
  const outcomes: ReportOutcome[] = [];
  for (const workflow of result.workflows) {
    const own = options.workflowConfigs?.[workflow.name] ?? [];
    for (const { config, format } of localReporters([...configs, ...own])) {
      const reporter = createFileReporter({ format, config, directory, random, taken });
      outcomes.push(await runReporter(reporter, { job: result, workflow }, { logger, clock }));
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
