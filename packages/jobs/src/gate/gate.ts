import type { getCluster, OutputOf } from "@holdfast/protocol/contract";
import type { OverloadLevel } from "@holdfast/resilience";
import type { EventFeed } from "../node/event-feed.ts";

export type GateState = "syncing" | "active" | "draining" | "offline";
export type GateView = OutputOf<typeof getCluster>;

export interface GateStats {
  /** Jobs that this gate leads now. */
  readonly ledJobs: number;
  /** Jobs that ended here a moment ago and are still in memory. */
  readonly finishedJobs: number;
  readonly takeOvers: number;
  /** Jobs whose writes were refused because another gate led them by then. */
  readonly deposedJobs: number;
  readonly commits: { readonly batches: number; readonly items: number; readonly failures: number };
  readonly feed: ReturnType<EventFeed["stats"]>;
  readonly connections: number;
  readonly load: OverloadLevel;
}

/** A running gate. */
export interface Gate extends AsyncDisposable {
  readonly nodeId: string;
  /** Where it listens, with the real port. */
  readonly address: string;
  readonly state: GateState;
  /** Whether it leads the cluster of gates. (Each job has a leading gate of its own.) */
  readonly isLeader: boolean;
  /** The whole cluster as this gate sees it. */
  view(): Promise<GateView>;
  stats(): GateStats;
  /**
   * Takes no more requests, lets those in flight finish for up to `drainMs` (default 5000), hands its jobs to the
   * other gates (or to its next start) and closes. Running work goes on in the datacenters. Idempotent.
   */
  stop(options?: { readonly drainMs?: number }): Promise<void>;
  /** Drops everything at once, as a process that dies: the lease is not released. For tests. */
  kill(): Promise<void>;
}
