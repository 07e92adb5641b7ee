import type { DatabaseStats, SessionCloseReason } from "./database.ts";
import type { TransactionEnd } from "./run-transaction.ts";

type Gauges = Pick<
  DatabaseStats,
  "sessionMaxCount" | "sessionCount" | "idleCount" | "busyCount" | "waitingCount" | "listenerCount"
>;

/** Counts what {@link DatabaseStats} reports. */
export class DatabaseCounters {
  statementCount = 0;
  statementFailedCount = 0;
  transactionCount = 0;
  acquireTimeoutCount = 0;
  acquireWaitTotalMs = 0;
  sessionOpenedCount = 0;
  readonly #ends: Record<TransactionEnd, number> = { committed: 0, "rolled-back": 0, unknown: 0 };
  readonly sessionClosedCounts: Record<SessionCloseReason, number> = {
    broken: 0,
    "read-only": 0,
    idle: 0,
    lifetime: 0,
    "cancel-failed": 0,
    closed: 0,
  };

  transactionEnded(end: TransactionEnd): void {
    this.#ends[end] += 1;
  }

  snapshot(gauges: Gauges): DatabaseStats {
    return {
      ...gauges,
      statementCount: this.statementCount,
      statementFailedCount: this.statementFailedCount,
      transactionCount: this.transactionCount,
      committedCount: this.#ends.committed,
      rolledBackCount: this.#ends["rolled-back"],
      unknownCount: this.#ends.unknown,
      acquireTimeoutCount: this.acquireTimeoutCount,
      acquireWaitTotalMs: this.acquireWaitTotalMs,
      sessionOpenedCount: this.sessionOpenedCount,
      sessionClosedCounts: { ...this.sessionClosedCounts },
    };
  }
}
