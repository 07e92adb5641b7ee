export {
  IdempotencyConflictError,
  type InputIssue,
  InvalidWorkflowInputError,
  JobNotFoundError,
  JobTooLargeError,
  NoDatacenterError,
  NodeNotReadyError,
  NotLeaderError,
  PermanentError,
  RateLimitedError,
  StaleFenceError,
  UnknownWorkflowError,
  WorkerHasNoDatabaseError,
} from "./errors.ts";
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
export type {
  BackoffOptions,
  LoadTestAction,
  LoadTestOptions,
  WorkflowContext,
  WorkflowDefinition,
  WorkflowOptions,
} from "./model/workflow.ts";
