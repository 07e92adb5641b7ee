import { type Abortable, type Clock, isHoldfastError, systemClock } from "@holdfast/kernel";
import { type LogPosition, parseLsn } from "../cluster/log-position.ts";
import { continuityOf, type TimelineSwitch } from "../cluster/timeline-history.ts";
import type { Database, StatementRunner } from "./database.ts";
import { integerOption } from "./integer-option.ts";

/** What it takes to ask later whether a transaction was committed. Taken inside it, after its last write. */
export interface TransactionMarker {
  /** Undefined: it had written nothing, so there is nothing to know. */
  readonly xid: string | undefined;
  readonly systemId: string;
  /** Everything that the transaction had logged before its COMMIT ends here at the latest. */
  readonly position: LogPosition;
}

/** `unknown`: too long ago, still under way, or on a timeline that nobody can connect to ours. */
export type TransactionOutcome = "committed" | "aborted" | "unknown";

export interface OutcomeOptions extends Abortable {
  /** Milliseconds to wait for a transaction that is still under way, and for a primary, 0 to a day. Default 10_000. */
  readonly waitMs?: number | undefined;
  readonly clock?: Clock | undefined;
}

const AGAIN_MS = 100;
const WAIT_MAX_MS = 86_400_000;

/** @throws InvalidInputError naming `field`. */
export const resolveWaitMs = (field: string, waitMs = 10_000): number =>
  integerOption(field, waitMs, 0, WAIT_MAX_MS);

const WHERE = `(SELECT system_identifier::text FROM pg_control_system()) AS system_id,
  ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::int AS timeline`;

interface WhereRow {
  readonly system_id: string;
  readonly timeline: number;
}

/** One round trip inside a transaction. */
export const markTransaction = async (tx: StatementRunner): Promise<TransactionMarker> => {
  const [row] = await tx.query<WhereRow & { xid: string | null; lsn: string }>(
    `SELECT pg_current_xact_id_if_assigned()::text AS xid, pg_current_wal_insert_lsn()::text AS lsn, ${WHERE}`,
    [],
  );
  if (row === undefined) throw new TypeError("broken invariant: a SELECT without FROM gave no row");
  return {
    xid: row.xid ?? undefined,
    systemId: row.system_id,
    position: { timeline: row.timeline, lsn: parseLsn(row.lsn) },
  };
};

/**
 * Finds out what became of a transaction whose COMMIT was not answered.
 *
 * On the timeline where it ran the server knows. After a failover: when the new timeline begins before the
 * transaction's own log ends, its COMMIT is not part of it, so it is aborted (and its number may be given to another
 * one, so asking for it would mislead); otherwise the new primary knows. "committed" is said only after a later write
 * was confirmed in the same way as any commit, so with synchronous replication it survives the next failover.
 *
 * @throws InvalidInputError naming `waitMs`, signal.reason. Every other failure to find out is "unknown".
 */
export const resolveOutcome = async (
  database: Database & { readonly history?: () => Promise<readonly TimelineSwitch[]> },
  marker: TransactionMarker,
  options: OutcomeOptions = {},
): Promise<TransactionOutcome> => {
  const { clock = systemClock, signal } = options;
  const waitMs = resolveWaitMs("waitMs", options.waitMs);
  const { xid } = marker;
  if (xid === undefined) return "aborted";
  const giveUpAt = clock.monotonicNow() + waitMs;
  for (;;) {
    signal?.throwIfAborted();
    try {
      const outcome = await askOnce(database, { ...marker, xid }, signal);
      if (outcome !== "in progress") return outcome;
    } catch (error) {
      signal?.throwIfAborted();
      if (!isHoldfastError(error) || !error.retryable) return "unknown";
    }
    if (clock.monotonicNow() >= giveUpAt) return "unknown";
    await clock.sleep(AGAIN_MS, { signal });
  }
};

const askOnce = async (
  database: Database & { readonly history?: () => Promise<readonly TimelineSwitch[]> },
  marker: TransactionMarker & { readonly xid: string },
  signal: AbortSignal | undefined,
): Promise<TransactionOutcome | "in progress"> => {
  const [where] = await database.query<WhereRow>(`SELECT ${WHERE}`, [], { signal, repeatable: true });
  if (where === undefined || where.system_id !== marker.systemId) return "unknown";
  if (where.timeline !== marker.position.timeline) {
    const history = (await database.history?.()) ?? [];
    switch (continuityOf(history, marker.position, where.timeline)) {
      case "lost":
        return "aborted";
      case "unknown":
        return "unknown";
      case "kept":
    }
  }
  // The message makes this a write, which waits for the same confirmation as the transaction in question did.
  const [row] = await database.query<WhereRow & { status: string | null }>(
    `SELECT pg_xact_status($1::xid8) AS status, ${WHERE}, pg_logical_emit_message(true, 'holdfast', '')::text AS lsn`,
    [marker.xid],
    { signal, repeatable: true },
  );
  // Another failover in between: look again from where we are now.
  if (row === undefined || row.timeline !== where.timeline) return "in progress";
  if (row.status === "committed" || row.status === "aborted" || row.status === "in progress")
    return row.status;
  return "unknown";
};
