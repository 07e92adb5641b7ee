export { type RenderedReport, renderReport } from "./render-report.ts";
export type { ReportOutcome } from "./run-reporter.ts";
export {
  LOCAL_REPORTER_TYPES,
  type WriteReportsOptions,
  writeReports,
} from "./write-reports.ts";
