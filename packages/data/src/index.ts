export {
  BackupArchiveError,
  BackupCorruptError,
  BackupNotFoundError,
  BackupToolError,
  RestoreFailedError,
  RestoreTargetError,
} from "./backup/backup-errors.ts";
export {
  DirectoryRepository,
  type DirectoryRepositoryOptions,
} from "./backup/directory-repository.ts";
export {
  type DatabaseEpoch,
  type DrillCheck,
  type DrillEvidence,
  type DrillOptions,
  type DrillReport,
  isEvidenceGenuine,
  runDrill,
} from "./backup/drill.ts";
export {
  type DatabaseFingerprint,
  fingerprintDatabase,
  fingerprintDifferences,
  type TableFingerprint,
} from "./backup/fingerprint.ts";
export { type PgBackRestOptions, PgBackRestRepository } from "./backup/pgbackrest-repository.ts";
export type { RecoveryRecord } from "./backup/recovery-log.ts";
export type {
  BackupRecord,
  BackupRepository,
  BackupRequest,
  LogReport,
  PruneReport,
  RestoredDirectory,
  RestoreRequest,
  RetentionPolicy,
  VerifyReport,
} from "./backup/repository.ts";
export type { RestoreTarget } from "./backup/restore-target.ts";
export { RestoredServer, type RestoredServerOptions } from "./backup/restored-server.ts";
export type { RunAs } from "./backup/tool.ts";
export { BulkRowRefusedError } from "./bulk/bulk-errors.ts";
export {
  type BulkColumn,
  type BulkLoadReport,
  type BulkLoadRequest,
  bulkLoad,
  type ConflictPolicy,
} from "./bulk/bulk-load.ts";
export type { ColumnCodec, ColumnTypeName } from "./bulk/column-codec.ts";
export type { Cache, CacheEvents, CacheTransactionOptions, InvalidationRequest } from "./cache/cache.ts";
export type { CacheStats } from "./cache/cache-counters.ts";
export { CacheUnavailableError, InvalidationPendingError } from "./cache/cache-errors.ts";
export type { CacheKey, CacheKeyPart } from "./cache/cache-key.ts";
export type {
  CacheOptions,
  CacheSession,
  GetOptions,
  LoadContext,
  PositionSource,
} from "./cache/cache-options.ts";
export { type CacheReport, describeCacheServer, readCacheReports } from "./cache/cache-reports.ts";
export type { CacheServer } from "./cache/cache-server.ts";
export type { CacheChanges, PutOptions } from "./cache/changes.ts";
export { openCache } from "./cache/open-cache.ts";
export type { CachePosition } from "./cache/shared-store.ts";
export { cacheSession, sqlPositions } from "./cache/sql-positions.ts";
export {
  NoPrimaryError,
  NoReplicaError,
  PatroniAnswerError,
  PatroniUnreachableError,
  PositionLostError,
  SplitBrainError,
  SwitchoverRefusedError,
  WrongServerError,
} from "./cluster/cluster-errors.ts";
export type { ClusterDiscovery, ClusterOptions, HostAndPort } from "./cluster/cluster-options.ts";
export type {
  ClusterCondition,
  ClusterEvents,
  ClusterStatus,
  NodeStatus,
  PrimaryChange,
  SwitchoverReport,
} from "./cluster/cluster-status.ts";
export { type HaproxyNode, type HaproxyOptions, haproxyConfig } from "./cluster/haproxy-config.ts";
export { formatLsn, type LogPosition, parseLsn } from "./cluster/log-position.ts";
export { type ClusterDatabase, openCluster } from "./cluster/open-cluster.ts";
export { PatroniClient, type PatroniClientOptions, type SwitchoverAnswer } from "./cluster/patroni-client.ts";
export type { PatroniCluster, PatroniMember } from "./cluster/patroni-documents.ts";
export { makePatroniPrograms } from "./cluster/patroni-programs.ts";
export type { SwitchoverOptions } from "./cluster/switchover.ts";
export type { TimelineSwitch } from "./cluster/timeline-history.ts";
export { createEffects, type EffectRequest, type Effects } from "./effects/effects.ts";
export {
  DataDirectoryInvalidError,
  DataDirectoryLockedError,
  DataDirectoryTooNewError,
} from "./embedded/data-directory-errors.ts";
export { type EmbeddedOptions, openEmbedded } from "./embedded/open-embedded.ts";
export {
  AuthenticationError,
  ConnectError,
  ConnectionLostError,
  type ConstraintKind,
  ConstraintViolationError,
  DiskFullError,
  EngineFailedError,
  LockUnavailableError,
  NestedUseError,
  PoolTimeoutError,
  ReadOnlyDatabaseError,
  ReplicationUnconfirmedError,
  ResourcesExhaustedError,
  SerializationFailureError,
  type SqlFailure,
  StaleFenceError,
  StatementCancelledError,
  StatementError,
  StatementTimeoutError,
  TransactionAbortedError,
  TransactionClosedError,
  UnsupportedServerError,
} from "./errors.ts";
export { type ReplicaOverview, readServerOverview, type ServerOverview } from "./overview/server-overview.ts";
export { openPostgres, type PostgresOptions } from "./postgres/open-postgres.ts";
export {
  type PgCursor,
  PgPool,
  type PgPoolClient,
  type PgQueryConfig,
  type PgQueryResult,
} from "./postgres/pg-pool.ts";
export { openRedis, type Redis, type RedisOptions } from "./redis/open-redis.ts";
export { RedisConnectError } from "./redis/redis-errors.ts";
export type { RedisTarget } from "./redis/redis-target.ts";
export type { ClusterSession } from "./session/cluster-session.ts";
export { checkCitusVersion } from "./sharding/citus-version.ts";
export { defineSchema } from "./sharding/define-schema.ts";
export type { InDoubtTransaction } from "./sharding/in-doubt.ts";
export { type CrossTenant, openShards, type Shards, type ShardsOptions } from "./sharding/open-shards.ts";
export {
  type NodeLoad,
  type PlacedShard,
  type PlacedTable,
  type PlacementReport,
  readWholePlacement,
  type ShardLocation,
  type ShardNode,
} from "./sharding/placement.ts";
export type {
  RebalanceMove,
  RebalanceOptions,
  RebalanceProgress,
  RebalanceReport,
} from "./sharding/rebalance.ts";
export {
  type DistributedTable,
  distributed,
  type ForeignKey,
  type InsertRow,
  type LocalTable,
  local,
  type PartialRow,
  type ReferenceTable,
  type ResultRow,
  reference,
  type ShardColumn,
  type ShardColumns,
  type ShardColumnType,
  type ShardSchema,
  type ShardTables,
  type TableIndex,
  type TenantOf,
} from "./sharding/schema.ts";
export { type SchemaStep, schemaSteps } from "./sharding/schema-ddl.ts";
export {
  ShardRebalanceError,
  ShardSchemaDriftError,
  ShardSchemaError,
  ShardServerUnsupportedError,
  ShardTenantCrossedError,
} from "./sharding/shard-errors.ts";
export type { SelectOptions, Tenant, TenantRunner } from "./sharding/tenant.ts";
export type {
  Database,
  DatabaseStats,
  Durability,
  IsolationLevel,
  ListenInterruption,
  SessionCloseReason,
  StatementOptions,
  StatementResult,
  StatementRunner,
  Transaction,
  TransactionOptions,
} from "./sql/database.ts";
export { type RetryTransactionOptions, retryTransaction } from "./sql/retry-transaction.ts";
export { readServerFacts, type ServerFacts } from "./sql/server-facts.ts";
export {
  markTransaction,
  type OutcomeOptions,
  resolveOutcome,
  type TransactionMarker,
  type TransactionOutcome,
} from "./sql/transaction-outcome.ts";
export {
  type CollectionOptions,
  createVectorCollection,
  type SearchMatch,
  type SearchResult,
  type StoredRecord,
  type StoredRow,
  VectorCollection,
} from "./vectors/collection.ts";
export type {
  Condition,
  FilterColumns,
  FilterColumnType,
  FilterValue,
  SearchFilter,
} from "./vectors/filter.ts";
export type { BuildIndexOptions, IndexProgress, IndexReport, MemoryReport } from "./vectors/index-build.ts";
export type { IndexForm } from "./vectors/index-form.ts";
export type { LatencyReport, RecallReport, RecallRequest, TuneReport } from "./vectors/recall.ts";
export type { SearchKind, SearchPlan } from "./vectors/search-plan.ts";
export type { SearchRequest } from "./vectors/searcher.ts";
export { decodeVector, encodeVector, vectorColumn } from "./vectors/vector-binary.ts";
export {
  VectorExtensionError,
  VectorIndexBusyError,
  VectorIndexInvalidError,
  VectorSchemaMismatchError,
} from "./vectors/vector-errors.ts";
export type { VectorRecord } from "./vectors/vector-record.ts";
export { formatVector, parseVector } from "./vectors/vector-text.ts";
export type { Distance, SparseVector, VectorType, VectorValue } from "./vectors/vector-type.ts";
