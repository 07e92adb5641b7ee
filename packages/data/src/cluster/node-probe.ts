import type { SqlSession } from "../sql/session.ts";
import { parseLsn } from "./log-position.ts";

/** What one server says of itself. */
export interface NodeReport {
  readonly systemId: string;
  /** The same for two addresses only when the same running server is behind both. */
  readonly instance: string;
  readonly inRecovery: boolean;
  readonly timeline: number;
  /** A primary's end of the flushed log, a replica's end of what it has replayed. */
  readonly lsn: bigint;
  /** What a replica has received and not necessarily replayed; the same as `lsn` on a primary. */
  readonly receivedLsn: bigint;
  /** Names of the replicas whose confirmation a commit waits for; undefined when it waits for none, or we may not see. */
  readonly synchronous: { readonly wanted: string; readonly attachedCount: number } | undefined;
}

/**
 * A primary tells its timeline by the name of its current log file. A replica's is that of what it receives, and
 * without a receiver that of the log it has replayed at least.
 */
export const TIMELINE_SQL = `CASE WHEN pg_is_in_recovery()
    THEN coalesce((SELECT received_tli FROM pg_stat_wal_receiver),
      (SELECT greatest(c.timeline_id, r.min_recovery_end_timeline) FROM pg_control_checkpoint() c, pg_control_recovery() r))
    ELSE ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::int END`;

const PROBE = `SELECT pg_is_in_recovery() AS in_recovery,
  (SELECT system_identifier::text FROM pg_control_system()) AS system_id,
  extract(epoch FROM pg_postmaster_start_time())::text || current_setting('port') AS instance,
  ${TIMELINE_SQL} AS timeline,
  CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_flush_lsn() END::text AS lsn,
  CASE WHEN pg_is_in_recovery() THEN pg_last_wal_receive_lsn() END::text AS received_lsn,
  current_setting('synchronous_standby_names') AS wanted,
  (SELECT count(*)::int FROM pg_stat_replication WHERE sync_state IN ('sync', 'quorum')) AS attached,
  pg_has_role(current_user, 'pg_monitor', 'USAGE') AS sees_all`;

interface ProbeRow {
  readonly in_recovery: boolean;
  readonly system_id: string;
  readonly instance: string;
  readonly timeline: number;
  readonly lsn: string | null;
  readonly received_lsn: string | null;
  readonly wanted: string;
  readonly attached: number;
  readonly sees_all: boolean;
}

export interface ProbeOptions {
  readonly signal?: AbortSignal | undefined;
  readonly timeoutMs?: number | undefined;
}

/** Asks a server what it is: one round trip. */
export const probe = async (session: SqlSession, options: ProbeOptions): Promise<NodeReport> => {
  const { rows } = await session.run<ProbeRow>(PROBE, [], { ...options, repeatable: true });
  const row = rows[0] as ProbeRow;
  const lsn = row.lsn === null ? 0n : parseLsn(row.lsn);
  const receivedLsn = row.received_lsn === null ? lsn : parseLsn(row.received_lsn);
  const waitsForReplica = !row.in_recovery && row.wanted !== "" && row.sees_all;
  return {
    systemId: row.system_id,
    instance: row.instance,
    inRecovery: row.in_recovery,
    timeline: row.timeline,
    lsn,
    // A restarted replica has replayed what it received before, and received nothing since.
    receivedLsn: receivedLsn > lsn ? receivedLsn : lsn,
    synchronous: waitsForReplica ? { wanted: row.wanted, attachedCount: row.attached } : undefined,
  };
};

/**
 * Ends when the server takes writes, or after `$1` milliseconds: it looks every 2 ms, which takes it 27 µs each time.
 * The connection is called `$2` from then on.
 */
const PROMOTION = `WITH RECURSIVE looks(done) AS (SELECT true UNION ALL
    SELECT pg_sleep(0.002) IS NOT NULL FROM looks
    WHERE pg_is_in_recovery() AND clock_timestamp() < statement_timestamp() + $1 * interval '1 millisecond')
  SELECT set_config('application_name', $2, false), count(*) FROM looks`;

/**
 * As {@link probe}, but a replica answers when it is promoted, or after `waitMs`. Where it may not wait, it answers at
 * once.
 */
export const probeUntilPromoted = (
  session: SqlSession,
  wait: { readonly waitMs: number; readonly applicationName: string },
  options: ProbeOptions,
): Promise<NodeReport> => {
  const values = [String(wait.waitMs), wait.applicationName];
  void session.run(PROMOTION, values, { ...options, repeatable: true }).catch(() => undefined);
  return probe(session, options);
};

/**
 * Where a session stands after a statement on the same connection, and what the synchronous replicas have confirmed.
 * Where they have all gone while commits wait for them, their slots tell what they had confirmed at most.
 */
export const POSITION = `SELECT pg_is_in_recovery() AS in_recovery,
  ${TIMELINE_SQL} AS timeline,
  CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn()
       WHEN current_setting('synchronous_commit') = 'off' THEN pg_current_wal_insert_lsn()
       ELSE pg_current_wal_flush_lsn() END::text AS lsn,
  attached.confirmed::text AS confirmed,
  CASE WHEN attached.confirmed IS NULL AND NOT pg_is_in_recovery()
         AND current_setting('synchronous_standby_names') <> ''
       THEN (SELECT max(restart_lsn) FROM pg_replication_slots WHERE slot_type = 'physical' AND strpos(
         translate(lower(current_setting('synchronous_standby_names')), '-.', '__'), slot_name::text) > 0)
       END::text AS confirmed_before
  FROM (SELECT CASE WHEN bool_or(sync_state = 'quorum') THEN max(flush_lsn) ELSE min(flush_lsn) END AS confirmed
     FROM pg_stat_replication WHERE sync_state IN ('sync', 'quorum')) AS attached`;

export interface PositionRow {
  readonly in_recovery: boolean;
  readonly timeline: number;
  readonly lsn: string | null;
  readonly confirmed: string | null;
  readonly confirmed_before: string | null;
}
