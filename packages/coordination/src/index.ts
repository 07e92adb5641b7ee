export type { SqlClient, SqlExecutor } from "./backends/postgres/sql-client.ts";
export {
  LeaseLostError,
  PayloadTooLargeError,
  SchemaTooNewError,
  StoreConflictError,
  StoreUnavailableError,
} from "./errors.ts";
export type { Json } from "./json.ts";
export {
  type GrantOptions,
  type GrantOutcome,
  LEASE_TTL_MAX_MS,
  LEASE_TTL_MIN_MS,
  type LeaseGrant,
  type LeaseInfo,
  type Leases,
} from "./lease/leases.ts";
export type { Log, LogAppend, LogEntry, LogRead, LogTailItem, ReadOptions, StreamBounds } from "./log/log.ts";
export { fromWirePosition, type Position, toWirePosition, type WirePosition } from "./position.ts";
export {
  type Backoff,
  type ClaimedTask,
  type CompleteOutcome,
  type FailOutcome,
  type FailResult,
  type LapsedTask,
  type NewTask,
  type QueueStats,
  type RenewOutcome,
  TASK_PRIORITIES,
  type TaskFailure,
  type TaskPriority,
  type TaskQueue,
  type TaskRecord,
  type TaskRef,
  type TaskState,
} from "./queue/task-queue.ts";
export type { CoordinationStore } from "./store.ts";
