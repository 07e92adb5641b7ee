export type { SqlClient, SqlExecutor } from "./backends/postgres/sql-client.ts";
export {
  ClaimLostError,
  EventBusFullError,
  InboxFullError,
  LeaseLostError,
  LockTimeoutError,
  PayloadTooLargeError,
  SchemaTooNewError,
  StateConflictError,
  StateCorruptError,
  StateNotIntegerError,
  StoreConflictError,
  StoreUnavailableError,
  TaskCancelledError,
  UnsupportedError,
} from "./errors.ts";
export type {
  BusEvent,
  Delivery,
  EventMap,
  EventPriority,
  HandlerFailure,
} from "./event-bus/bus-event.ts";
export type {
  DeliverOptions,
  EventBusOptions,
  EventBusStats,
  PublishOptions,
  StopReport,
} from "./event-bus/bus-options.ts";
export { EventBus } from "./event-bus/event-bus.ts";
export {
  type DeadOutboxEvent,
  type NewOutboxEvent,
  Outbox,
  type OutboxEvent,
  type OutboxOptions,
  type OutboxStats,
} from "./event-bus/outbox.ts";
export type { RelayContext, RelayOptions } from "./event-bus/relay.ts";
export type {
  EventHandler,
  HandlerContext,
  SubscribeOptions,
  Subscription,
  SubscriptionStats,
} from "./event-bus/subscription.ts";
export type { Json } from "./json.ts";
export { type ElectionOptions, electLeader, type Term } from "./lease/elect-leader.ts";
export {
  type ExtendOptions,
  type HeldLease,
  type HoldOptions,
  type HoldOutcome,
  holdLease,
  LeaseKeeper,
  type LeaseKeeperOptions,
} from "./lease/lease-keeper.ts";
export {
  type GrantOptions,
  type GrantOutcome,
  LEASE_TTL_MAX_MS,
  LEASE_TTL_MIN_MS,
  type LeaseGrant,
  type LeaseInfo,
  type Leases,
} from "./lease/leases.ts";
export {
  type AcquireOptions,
  type Lock,
  type LockOptions,
  type LockState,
  Locks,
  type LocksOptions,
} from "./lock/locks.ts";
export { ReadWriteLock, type ReadWriteLockOptions, type ReadWriteLockState } from "./lock/read-write-lock.ts";
export { type Permit, Semaphore, type SemaphoreOptions } from "./lock/semaphore.ts";
export type { Log, LogAppend, LogEntry, LogRead, LogTailItem, ReadOptions, StreamBounds } from "./log/log.ts";
export { fromWirePosition, type Position, toWirePosition, type WirePosition } from "./position.ts";
export { ClaimKeeper, type ClaimKeeperOptions, type KeptClaim } from "./queue/claim-keeper.ts";
export { type ClaimOrWaitOptions, claimOrWait, type TimedClaims } from "./queue/claim-or-wait.ts";
export {
  followQueueEvents,
  type QueueEvent,
  type QueueEventItem,
  queueEventStream,
  recordEvents,
} from "./queue/queue-events.ts";
export { runSchedules, type SchedulesOptions } from "./queue/run-schedules.ts";
export { runWorker } from "./queue/run-worker.ts";
export type {
  DueSchedules,
  MissedTicks,
  Schedule,
  ScheduledTask,
  ScheduleSpec,
  ScheduleStep,
  ScheduleTable,
} from "./queue/schedule-table.ts";
export {
  type Backoff,
  type BackoffKind,
  type ClaimedTask,
  type CompleteOutcome,
  type FailOutcome,
  type FailResult,
  type JitterKind,
  type LapsedTask,
  type Limits,
  type NewTask,
  type ProgressOutcome,
  type QueueLimits,
  type QueueSettings,
  type QueueStats,
  type RateLimit,
  type RenewOutcome,
  TASK_PRIORITIES,
  type TaskFailure,
  type TaskPriority,
  type TaskQueue,
  type TaskRecord,
  type TaskRef,
  type TaskState,
} from "./queue/task-queue.ts";
export type {
  BatchHandler,
  TaskContext,
  TaskHandler,
  WorkerEvents,
  WorkerOptions,
} from "./queue/worker-options.ts";
export type { StateUpdate } from "./state-sync/replica-follower.ts";
export {
  type GetOptions,
  type SetOptions,
  StateReplica,
  type StateReplicaOptions,
  type StateReplicaStats,
} from "./state-sync/state-replica.ts";
export { StateReplicas } from "./state-sync/state-replicas.ts";
export type {
  CorruptEntry,
  StateChange,
  StateChanges,
  StateEntry,
  StateSnapshot,
  States,
  StateWrite,
  StateWriteOptions,
  WriteOutcome,
} from "./state-sync/states.ts";
export type { CoordinationStore } from "./store.ts";
