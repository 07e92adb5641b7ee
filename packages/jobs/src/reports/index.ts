export { type RenderedReport, renderReport } from "./render-report.ts";
export {
  LOCAL_REPORTER_TYPES,
  type ReportOutcome,
  type WriteReportsOptions,
  writeReports,
} from "./write-reports.ts";
