import type { Clock, Logger } from "@holdfast/kernel";
import type { Reporter, WorkflowReport } from "./reporter.ts";

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

/**
 * Opens the reporter, lets it write both results and closes it. Never throws: what fails is logged with the
 * reporter's type and the workflow, told in the outcome, and keeps nothing that comes after it from happening;
 * `close` is called whatever failed.
 */
export const runReporter = async (
  reporter: Reporter,
  report: WorkflowReport,
  { logger, clock }: { readonly logger: Logger; readonly clock: Clock },
): Promise<ReportOutcome> => {
  const { type } = reporter;
  const { name } = report.workflow;
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
