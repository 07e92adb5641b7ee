import type { CloseReason } from "./pool-stats.ts";

/** What a pool counts from its start on. */
export class PoolCounters {
  openedCount = 0;
  openFailedCount = 0;
  acquiredCount = 0;
  releasedCount = 0;
  exhaustedCount = 0;
  validatedCount = 0;
  invalidCount = 0;
  leakedCount = 0;
  waitTotalMs = 0;
  waitMaxMs = 0;
  readonly closedCounts: Partial<Record<CloseReason, number>> = {};

  waited(waitedMs: number): void {
    this.waitTotalMs += waitedMs;
    this.waitMaxMs = Math.max(this.waitMaxMs, waitedMs);
  }

  closed(reason: CloseReason): void {
    this.closedCounts[reason] = (this.closedCounts[reason] ?? 0) + 1;
  }
}
