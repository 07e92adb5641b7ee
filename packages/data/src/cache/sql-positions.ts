import type { Abortable } from "@holdfast/kernel";
import type { StatementRunner } from "../sql/database.ts";
import type { PositionSource } from "./cache-options.ts";
import type { CachePosition } from "./shared-store.ts";

/**
 * Asks the primary behind `sql` where its log ends: the timeline is the epoch, which grows with each promotion and
 * each restore to a point in time.
 * @param sql Statements of it reach the primary: a database with one server, or the writing side of a cluster.
 */
export const sqlPositions = (sql: Pick<StatementRunner, "query">): PositionSource => ({
  async current(options: Abortable = {}): Promise<CachePosition> {
    // The insert position is at or after the commit record of everything that was acknowledged. The name of a log
    // file begins with the timeline, and PostgreSQL refuses to make one on a replica, which is right here.
    const [row] = await sql.query<{ epoch: string; position: string }>(
      `SELECT ('x' || substr(pg_walfile_name(at), 1, 8))::bit(32)::bigint AS epoch, at - '0/0' AS position
       FROM pg_current_wal_insert_lsn() AS at`,
      [],
      options,
    );
    return { epoch: BigInt(row?.epoch ?? 0), position: BigInt(row?.position ?? 0) };
  },
});

/** A session of a cluster, as far as the cache looks at it. */
interface PositionedSession {
  readonly position: { readonly timeline: number; readonly lsn: bigint } | undefined;
}

const cacheSessions = new WeakMap<PositionedSession, CachePosition>();

/**
 * What a session of a cluster has seen, as the cache compares it; undefined before its first statement. As long as the
 * session stays where it is this is the same object, by which the cache knows it again.
 */
export const cacheSession = (session: PositionedSession): CachePosition | undefined => {
  if (session.position === undefined) return undefined;
  const epoch = BigInt(session.position.timeline);
  const position = session.position.lsn;
  const known = cacheSessions.get(session);
  if (known?.position === position && known.epoch === epoch) return known;
  const made = { epoch, position };
  cacheSessions.set(session, made);
  return made;
};
