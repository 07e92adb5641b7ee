import type { Abortable, Clock } from "@holdfast/kernel";
import type { Database, StatementRunner } from "../sql/database.ts";
import { quoteIdentifier } from "../sql/identifier.ts";
import type { ShardNode } from "./placement.ts";
import { ShardRebalanceError } from "./shard-errors.ts";

export interface RebalanceMove {
  readonly table: string;
  readonly shardId: string;
  readonly sizeBytes: number;
  readonly from: ShardNode;
  readonly to: ShardNode;
}

export interface RebalanceOptions extends Abortable {
  /**
   * "auto" (default) and "force_logical" copy while the shard is written to; "block_writes" is quicker and lets
   * writes of the shard that moves wait.
   */
  readonly mode?: "auto" | "force_logical" | "block_writes" | undefined;
  /** Called about each half second. Must not throw. */
  readonly onProgress?: ((progress: RebalanceProgress) => void) | undefined;
}

export interface RebalanceProgress {
  readonly doneCount: number;
  readonly runningCount: number;
  readonly totalCount: number;
}

export interface RebalanceReport {
  /** False when nothing had to move. */
  readonly hasMoved: boolean;
  /** "stopped" when the signal aborted it: what was moved by then stays moved. */
  readonly state: "finished" | "stopped";
  readonly moveCount: number;
  readonly durationMs: number;
}

const POLL_MS = 500;

export const planRebalance = async (database: StatementRunner): Promise<readonly RebalanceMove[]> => {
  const rows = await database.query<{
    table: string;
    id: string;
    size: string;
    from: string;
    fromPort: number;
    to: string;
    toPort: number;
  }>(
    `SELECT table_name::text AS table, shardid AS id, shard_size AS size, sourcename AS from, sourceport AS "fromPort",
            targetname AS to, targetport AS "toPort" FROM get_rebalance_table_shards_plan()`,
  );
  return rows.map(({ table, id, size, from, fromPort, to, toPort }) => ({
    table,
    shardId: id,
    sizeBytes: Number(size),
    from: { host: from, port: fromPort },
    to: { host: to, port: toPort },
  }));
};

/**
 * Runs in the cluster's background, so it goes on if this process ends; an abort stops it there.
 * @throws ShardRebalanceError when a move failed for good.
 */
export const rebalance = async (
  database: Database,
  clock: Clock,
  options: RebalanceOptions & { readonly isSharded: boolean },
): Promise<RebalanceReport> => {
  const { signal, mode = "auto", onProgress } = options;
  const startedAt = clock.monotonicNow();
  const report = (state: RebalanceReport["state"], moveCount: number): RebalanceReport => ({
    hasMoved: moveCount > 0,
    state,
    moveCount,
    durationMs: clock.monotonicNow() - startedAt,
  });
  if (!options.isSharded) return report("finished", 0);
  signal?.throwIfAborted();
  const [started] = await database.query<{ job: string | null }>(
    "SELECT citus_rebalance_start(shard_transfer_mode => $1::text::citus.shard_transfer_mode) AS job",
    [mode],
    { repeatable: false },
  );
  const job = started?.job;
  if (job === null || job === undefined) return report("finished", 0);
  for (;;) {
    const { state, counts, error } = await jobStatus(database, job);
    onProgress?.({ doneCount: counts.done, runningCount: counts.running, totalCount: counts.total });
    if (state === "finished") return report("finished", counts.done);
    if (state === "failed" || state === "cancelled") {
      if (signal?.aborted === true) return report("stopped", counts.done);
      throw new ShardRebalanceError(job, state, error);
    }
    if (signal?.aborted === true && state !== "cancelling")
      await database.query("SELECT citus_rebalance_stop()", []);
    await clock.sleep(POLL_MS);
  }
};

interface JobStatus {
  readonly state: string;
  readonly counts: { readonly done: number; readonly running: number; readonly total: number };
  readonly error: string;
}

const jobStatus = async (database: StatementRunner, job: string): Promise<JobStatus> => {
  const [row] = await database.query<{
    state: string;
    done: number;
    running: number;
    total: number;
    message: string | null;
  }>(
    `SELECT j.state::text AS state, count(*) FILTER (WHERE t.status = 'done')::int AS done,
            count(*) FILTER (WHERE t.status = 'running')::int AS running, count(t.*)::int AS total,
            max(t.message) FILTER (WHERE t.status IN ('error', 'unscheduled')) AS message
       FROM pg_dist_background_job j LEFT JOIN pg_dist_background_task t USING (job_id) WHERE j.job_id = $1 GROUP BY j.state`,
    [job],
  );
  return {
    state: row?.state ?? "cancelled",
    counts: { done: row?.done ?? 0, running: row?.running ?? 0, total: row?.total ?? 0 },
    error: row?.message ?? "",
  };
};

export const isolateTenant = async (
  database: StatementRunner,
  table: string,
  tenant: unknown,
): Promise<void> => {
  await database.query(
    `SELECT isolate_tenant_to_new_shard($1::text::regclass, $2::text, 'CASCADE', shard_transfer_mode => 'block_writes')`,
    [quoteIdentifier(table, "table"), String(tenant)],
    { repeatable: false },
  );
};
