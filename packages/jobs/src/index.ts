export {
  ClaimLostError,
  DependenciesTooLargeError,
  DependencyFailedError,
  DuplicateWorkflowError,
  IdempotencyConflictError,
  type InputIssue,
  InvalidOutcomeError,
  InvalidOutputError,
  InvalidWorkflowInputError,
  JobCancelledError,
  JobNotFoundError,
  JobTimeoutError,
  JobTooLargeError,
  NoDatacenterError,
  NodeNotReadyError,
  NoTargetError,
  NotLeaderError,
  PermanentError,
  RateLimitedError,
  ShardCancelledError,
  ShardCrashedError,
  ShardGivenBackError,
  ShardTimeoutError,
  StaleFenceError,
  UnknownWorkflowError,
  WorkerDrainingError,
  WorkerHasNoDatabaseError,
  WorkflowFailedError,
  WorkflowModuleError,
} from "./errors.ts";
export { defineLoadTest } from "./model/define-load-test.ts";
export { defineWorkflow, isWorkflowDefinition } from "./model/define-workflow.ts";
export { Histogram, mergeHistograms } from "./model/histogram.ts";
export {
  createMemoryJobStore,
  createSqlJobStore,
  type SqlJobStoreOptions,
  shardJobs,
} from "./model/job-store/index.ts";
export {
  type InsertOutcome,
  type JobFilter,
  type JobRow,
  type JobStore,
  type JobTable,
  type JobUpdate,
  type NewJobRow,
  type PurgedJob,
  TERMINAL_STATUSES,
} from "./model/job-table.ts";
export { createHttpAction, type HttpActionOptions } from "./model/load-generator/http-action.ts";
export { MeasurementSum, mergeMeasurements } from "./model/measurements.ts";
export { checkInput, createRegistry, type InputCheck, type WorkflowRegistry } from "./model/registry.ts";
export type {
  BackoffOptions,
  LoadTestAction,
  LoadTestOptions,
  OnActionEnd,
  WorkflowContext,
  WorkflowDefinition,
  WorkflowOptions,
  WorkflowOutput,
} from "./model/workflow.ts";
