import type { StatementOptions, StatementRunner } from "../sql/database.ts";

/** A server that follows the one that was asked. */
export interface ReplicaOverview {
  /** Its `application_name`. */
  readonly name: string;
  /** Undefined where it came over a socket of this machine, or we may not see it. */
  readonly address: string | undefined;
  /** For example "streaming". */
  readonly state: string;
  /** Whether commits wait for it: "async", "potential", "sync" or "quorum". */
  readonly confirms: string;
  /** Bytes that it has not replayed. */
  readonly lagBytes: number | undefined;
  /** Milliseconds by which it was late with what it last replayed. */
  readonly lagMs: number | undefined;
}

/** What one server tells of itself; the same questions for an embedded one. */
export interface ServerOverview {
  readonly isReplica: boolean;
  /** Undefined on a replica. */
  readonly timeline: number | undefined;
  /** For example "0/3000148": what a primary has written, a replica replayed. */
  readonly position: string | undefined;
  /** Milliseconds since the epoch. */
  readonly startedAt: number;
  /** Of this database alone. */
  readonly sizeBytes: number;
  readonly connectionCount: number;
  readonly connectionMaxCount: number;
  /** Of the pages that were read, how many were in the server's memory, 0 to 1; undefined before the first. */
  readonly pageHitRate: number | undefined;
  readonly replicas: readonly ReplicaOverview[];
}

interface OverviewRow {
  readonly replica: boolean;
  readonly timeline: number | null;
  readonly position: string | null;
  readonly started_at: number;
  readonly size: string;
  readonly connections: number;
  readonly connections_max: number;
  readonly page_hit_rate: number | null;
}

/** A primary's timeline is in the name of the file that it writes; functions of the other role are not evaluated. */
const OVERVIEW = `SELECT role.replica,
  CASE WHEN role.replica THEN NULL
    ELSE ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::int END AS timeline,
  (CASE WHEN role.replica THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END)::text AS position,
  (extract(epoch FROM pg_postmaster_start_time()) * 1000)::float8 AS started_at,
  pg_database_size(current_database()) AS size,
  (SELECT count(*)::int FROM pg_stat_activity WHERE backend_type = 'client backend') AS connections,
  current_setting('max_connections')::int AS connections_max,
  (SELECT blks_hit::float8 / nullif(blks_hit + blks_read, 0) FROM pg_stat_database
    WHERE datname = current_database()) AS page_hit_rate
FROM (SELECT pg_is_in_recovery() AS replica) AS role`;

interface ReplicaRow {
  readonly name: string;
  readonly address: string | null;
  readonly state: string | null;
  readonly confirms: string | null;
  readonly lag_bytes: string | null;
  readonly lag_ms: number | null;
}

/** Base backups stream too, under names of their own, and are no replicas. */
const REPLICAS = `SELECT application_name AS name, host(client_addr) AS address, state, sync_state AS confirms,
  CASE WHEN pg_is_in_recovery() THEN NULL ELSE pg_wal_lsn_diff(pg_current_wal_lsn(), replay_lsn)::bigint END AS lag_bytes,
  (extract(epoch FROM replay_lag) * 1000)::float8 AS lag_ms
FROM pg_stat_replication WHERE state IS DISTINCT FROM 'backup' ORDER BY 1, 2`;

/**
 * Asks a server what it is, how full it is, and who follows it. Two statements; without the role `pg_monitor` the
 * replicas are named and their state is not.
 * @throws what `query` throws.
 */
export const readServerOverview = async (
  database: StatementRunner,
  options?: StatementOptions,
): Promise<ServerOverview> => {
  const [row] = await database.query<OverviewRow>(OVERVIEW, [], options);
  if (row === undefined) throw new TypeError("broken invariant: a SELECT from one row gave none");
  const replicas = await database.query<ReplicaRow>(REPLICAS, [], options);
  return {
    isReplica: row.replica,
    timeline: row.timeline ?? undefined,
    position: row.position ?? undefined,
    startedAt: row.started_at,
    sizeBytes: Number(row.size),
    connectionCount: row.connections,
    connectionMaxCount: row.connections_max,
    pageHitRate: row.page_hit_rate ?? undefined,
    replicas: replicas.map(({ name, address, state, confirms, lag_bytes, lag_ms }) => ({
      name,
      address: address ?? undefined,
      state: state ?? "unknown",
      confirms: confirms ?? "unknown",
      lagBytes: lag_bytes === null ? undefined : Math.max(0, Number(lag_bytes)),
      // Null on a replica that has nothing left to replay.
      lagMs: lag_ms ?? (lag_bytes === "0" ? 0 : undefined),
    })),
  };
};
