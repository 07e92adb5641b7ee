import type { DatabaseStats, SessionCloseReason } from "../sql/database.ts";

export const NO_STATS: DatabaseStats = {
  sessionMaxCount: 0,
  sessionCount: 0,
  idleCount: 0,
  busyCount: 0,
  waitingCount: 0,
  listenerCount: 0,
  statementCount: 0,
  statementFailedCount: 0,
  transactionCount: 0,
  committedCount: 0,
  rolledBackCount: 0,
  unknownCount: 0,
  acquireTimeoutCount: 0,
  acquireWaitTotalMs: 0,
  sessionOpenedCount: 0,
  sessionClosedCounts: { broken: 0, "read-only": 0, idle: 0, lifetime: 0, "cancel-failed": 0, closed: 0 },
};

type CountName = Exclude<keyof DatabaseStats, "sessionClosedCounts">;

/** The figures of two pools as if they were one. */
export const addStats = (a: DatabaseStats, b: DatabaseStats): DatabaseStats => {
  const counts = Object.fromEntries(
    (Object.keys(NO_STATS) as (keyof DatabaseStats)[])
      .filter((name): name is CountName => name !== "sessionClosedCounts")
      .map((name) => [name, a[name] + b[name]]),
  ) as Record<CountName, number>;
  const reasons = Object.keys(NO_STATS.sessionClosedCounts) as SessionCloseReason[];
  return {
    ...counts,
    sessionClosedCounts: Object.fromEntries(
      reasons.map((reason) => [reason, a.sessionClosedCounts[reason] + b.sessionClosedCounts[reason]]),
    ) as Record<SessionCloseReason, number>,
  };
};
