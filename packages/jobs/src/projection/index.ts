export {
  type CellProgress,
  emptyProjection,
  type HistogramSummary,
  type JobProjection,
  jobFraction,
  type LogLine,
  projectEvent,
  recentRate,
  shareDone,
  type WindowPoint,
  type WorkflowProjection,
  workflowTotals,
} from "./job-projection.ts";
