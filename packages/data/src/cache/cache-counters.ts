/**
 * Counted since the cache was opened. Every read is one of: `nearHitCount`, `sharedHitCount`, `staleHitCount`,
 * `missCount`, `bypassCount`, `failedCount`; their sum is `readCount` plus what is under way.
 */
export class CacheCounters {
  readCount = 0;
  /** Served from this process. */
  nearHitCount = 0;
  /** Served from the shared store. */
  sharedHitCount = 0;
  /** Served though expired: while it was loaded anew, or because the load failed. */
  staleHitCount = 0;
  /** Loaded, by this reader or by one that it waited for. */
  missCount = 0;
  /** Loaded without the shared store: it could not be reached, or the reader was inside a transaction. */
  bypassCount = 0;
  failedCount = 0;
  loadCount = 0;
  loadFailedCount = 0;
  /** Loads that another process did while this one waited. */
  waitCount = 0;
  fillStoredCount = 0;
  /** Refused because an invalidation came between the load and the fill. */
  fillOvertakenCount = 0;
  /** Refused because the replica had not replayed an invalidation's commit. */
  fillBehindCount = 0;
  /** Refused because the store forgot, or the database failed over. */
  fillGenerationCount = 0;
  writeStoredCount = 0;
  /** Written values that were not stored, because another change came after them. */
  writeOvertakenCount = 0;
  invalidationCount = 0;
  /** Invalidations that the shared store could not be told in time. */
  invalidationPendingCount = 0;
  /** Invalidations that the relay found and did. */
  invalidationRelayedCount = 0;
  /** Failed calls of the shared store. */
  storeErrorCount = 0;
  auditCount = 0;
  /** Audited hits that differed from their source, and still did after the delay. */
  inconsistentCount = 0;
}

export interface CacheStats extends Readonly<CacheCounters> {
  readonly nearEntryCount: number;
  readonly nearBytes: number;
  readonly nearEvictedCount: number;
  /** Copies of this process are served now: it is up to date with the invalidations. */
  readonly isNearTrusted: boolean;
  readonly breaker: "closed" | "open" | "half-open" | "isolated";
  /** Hits per read, 0 to 1. */
  readonly hitRate: number;
}
