import type { HedgeStats, RetryStats } from "@holdfast/resilience";
import type { OperationStats } from "./latency-metrics.ts";
import type { Node } from "./node.ts";

/** Always `active + idle + opening + resetting === total <= maxCount`. */
export interface ConnectionStats {
  readonly active: number;
  readonly idle: number;
  readonly opening: number;
  readonly resetting: number;
  readonly total: number;
  readonly maxCount: number;
  readonly waiting: number;
  readonly openedCount: number;
  readonly openFailedCount: number;
}

export interface ManagerStats {
  readonly connections: ConnectionStats;
  readonly requests: OperationStats;
  readonly leases: OperationStats;
  readonly retries: RetryStats;
  readonly hedges: HedgeStats | undefined;
  readonly ejectedCount: number;
  readonly nodes: readonly {
    readonly nodeId: number;
    readonly host: string;
    readonly inFlightCount: number;
    readonly roundTripMs: number | undefined;
    readonly requestCount: number;
  }[];
}

/** The figures of all pools together. */
export const connectionStatsOf = (nodes: readonly Node[], maxCount: number): ConnectionStats => {
  const sums = {
    active: 0,
    idle: 0,
    opening: 0,
    resetting: 0,
    total: 0,
    waiting: 0,
    openedCount: 0,
    openFailedCount: 0,
  };
  for (const { pool } of nodes) {
    const stats = pool.stats;
    sums.active += stats.leased;
    sums.idle += stats.idle;
    sums.opening += stats.opening;
    sums.resetting += stats.resetting;
    sums.total += stats.total;
    sums.waiting += stats.waiting;
    sums.openedCount += stats.openedCount;
    sums.openFailedCount += stats.openFailedCount;
  }
  return { ...sums, maxCount };
};
