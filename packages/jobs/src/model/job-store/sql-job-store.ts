import { createPostgresStore, type SqlClient, type SqlExecutor } from "@holdfast/coordination/postgres";
import type { Abortable, Clock, Logger, Random } from "@holdfast/kernel";
import { InvalidInputError } from "@holdfast/kernel";
import type { JobStore } from "../job-table.ts";
import { STORE_PAYLOAD_MAX_BYTES } from "./checks.ts";
import { FirstStatistics } from "./first-statistics.ts";
import { migrateJobs } from "./migrate-jobs.ts";
import { areJobsSharded } from "./shard-jobs.ts";
import { ShardedJobTable } from "./sharded-job-table.ts";
import { SqlJobTable } from "./sql-job-table.ts";

export interface SqlJobStoreOptions extends Abortable {
  /** A PostgreSQL 15 or newer, embedded or on a server. Stays the caller's: the store never closes it. */
  readonly sql: SqlClient;
  /**
   * The schema of the store's tables, made when missing: 1 to 48 characters of `[a-z0-9_]`. A gate and the
   * datacenters of one database each need their own.
   */
  readonly schema: string;
  /** For polls and retries only: leases and instants follow the database's clock. */
  readonly clock: Clock;
  readonly logger: Logger;
  /** Makes the jitter of retries. Default: the system's. */
  readonly random?: Random;
}

/**
 * A job store in PostgreSQL, its table of jobs spread by job where `shardJobs` has been: what it answered for survives crashes as the database's own commits do. Brings the
 * schema up to date first; programs that start together take turns.
 * @throws InvalidInputError for a schema name that does not fit; SchemaTooNewError when a newer program was
 * here (nothing is changed); StoreUnavailableError when the database does not answer.
 */
export const createSqlJobStore = async (options: SqlJobStoreOptions): Promise<JobStore<SqlExecutor>> => {
  const { sql, schema, clock, logger, random, signal } = options;
  if (!/^[a-z_][a-z0-9_]{0,47}$/.test(schema)) {
    throw new InvalidInputError(
      "schema",
      schema,
      "1 to 48 characters of [a-z0-9_], not starting with a digit",
    );
  }
  const coordination = await createPostgresStore({
    sql,
    schema,
    clock,
    logger,
    payloadMaxBytes: STORE_PAYLOAD_MAX_BYTES,
    ...(random === undefined ? {} : { random }),
    ...(signal === undefined ? {} : { signal }),
  });
  let isSharded: boolean;
  try {
    await migrateJobs(sql, schema, { signal });
    isSharded = await areJobsSharded(sql, schema, { signal });
  } catch (error) {
    await coordination.close();
    throw error;
  }
  const statistics = new FirstStatistics({ sql, schema, clock, logger });
  const onInserted = (count: number): void => statistics.noteAdded(count);
  return {
    coordination,
    jobs: isSharded
      ? new ShardedJobTable(sql, schema, { onInserted })
      : new SqlJobTable(sql, schema, { onInserted }),
    [Symbol.asyncDispose]: async () => {
      await statistics[Symbol.asyncDispose]();
      await coordination.close();
    },
  };
};
