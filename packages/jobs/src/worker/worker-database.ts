import type { Json } from "@holdfast/coordination";
import type { SqlExecutor } from "@holdfast/coordination/postgres";
import { type Abortable, hasCode } from "@holdfast/kernel";
import type { Assignment } from "@holdfast/protocol/contract";
import type { ShardDatabase } from "./shard-run.ts";

/** Names one effect of one shard, the same for every attempt. */
export interface EffectRequest {
  /** The shard: `<jobId>/<workflowId>/<shard>`. */
  readonly scope: string;
  /** What the workflow calls it; unique within the scope. */
  readonly name: string;
  /** The fence of the attempt: an older attempt than one that was seen for the scope is refused. */
  readonly fence: bigint;
}

/** Does things exactly once. Fitted by `createEffects` of the data package. */
export interface EffectRunner {
  /**
   * Runs `body` in one transaction that also stores its result, or gives the stored result without running it.
   * @throws an error with the code DATA_STALE_FENCE when a newer attempt was seen.
   */
  run<T extends Json>(
    request: EffectRequest,
    body: (tx: SqlExecutor) => Promise<T>,
    options?: Abortable,
  ): Promise<T>;
}

/** The database that a worker offers its workflows. */
export interface WorkerDatabase {
  readonly sql: SqlExecutor;
  readonly effects: EffectRunner;
}

/** The same database; `onRefused` hears of every effect that was refused because a newer attempt had begun. */
export const noticingRefusals = (database: WorkerDatabase, onRefused: () => void): WorkerDatabase => ({
  sql: database.sql,
  effects: {
    run: async (request, body, options) => {
      try {
        return await database.effects.run(request, body, options);
      } catch (error) {
        if (hasCode(error, "DATA_STALE_FENCE")) onRefused();
        throw error;
      }
    },
  },
});

/** The worker's database as one attempt sees it; everything ends with `signal`. */
export const databaseOf = (
  database: WorkerDatabase,
  assignment: Assignment,
  signal: AbortSignal,
): ShardDatabase => ({
  sql: {
    query: (text, values, options) =>
      database.sql.query(text, values, {
        signal: options?.signal === undefined ? signal : AbortSignal.any([signal, options.signal]),
      }),
  },
  effect: (name, body) =>
    database.effects.run({ scope: assignment.taskId, name, fence: BigInt(assignment.token) }, body, {
      signal,
    }),
});
