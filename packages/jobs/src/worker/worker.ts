/** `degraded`: no manager is connected, or undelivered outcomes are at their bound. */
export type WorkerState = "healthy" | "degraded" | "draining" | "offline";

export interface WorkerStats {
  readonly cores: number;
  readonly busyCores: number;
  /** Claimed and waiting for a core. */
  readonly queuedShards: number;
  readonly completedShards: number;
  readonly failedShards: number;
  /** Ended, and not yet taken by a manager. */
  readonly undeliveredOutcomes: number;
  readonly droppedUpdates: number;
  /** Effects of attempts that were refused because a newer attempt of their shard had begun. */
  readonly refusedEffects: number;
  /** Node ids. */
  readonly managers: readonly string[];
}

/** A running worker: claims shards, runs them, reports. */
export interface Worker extends AsyncDisposable {
  readonly nodeId: string;
  readonly datacenter: string;
  readonly workflows: readonly string[];
  readonly state: WorkerState;
  stats(): WorkerStats;
  /** Resolves when a manager has registered this worker. @throws signal.reason when aborted. */
  whenRegistered(options?: { readonly signal?: AbortSignal }): Promise<void>;
  /**
   * Drains and stops: takes no more work, gives back what has not started, waits up to `drainMs` (default
   * 30_000) for what runs, then gives that back too, delivers the outcomes and closes. Shards given back do
   * not count an attempt. Idempotent.
   */
  stop(options?: { readonly drainMs?: number }): Promise<void>;
  /** Drops everything at once, as a crash would: claims lapse and their shards run again elsewhere. */
  kill(): Promise<void>;
}
