import type { SqlClient } from "@holdfast/coordination/postgres";
import { type Database, defineSchema, distributed, openShards, type Transaction } from "@holdfast/data";
import { type Abortable, InvalidInputError } from "@holdfast/kernel";
import { migrateJobs } from "./migrate-jobs.ts";

const COLUMNS = {
  job_key: "text",
  job_id: "text",
  idempotency_hash: "text",
  idempotency_key: "text",
  payload_hash: "text",
  owner: "text",
  fence: "int8",
  status: "text",
  name: "text",
  labels: "json",
  spec: "json",
  state: "json",
  submitted_at: "int8",
  finished_at: { type: "int8", nullable: true },
} as const;

/**
 * The jobs, each wholly on one node, spread by their key. No table that is spread by job can keep the idempotency keys
 * of all jobs unique, so they have one of their own, spread by what must be unique.
 */
export const jobShardSchema = defineSchema({
  jobs: distributed({ by: "job_key", columns: COLUMNS, primaryKey: ["job_key"], group: "jobs" }),
  job_submissions: distributed({
    by: "idempotency_hash",
    columns: { idempotency_hash: "text", job_key: "text" },
    primaryKey: ["idempotency_hash"],
    group: "submissions",
  }),
});

/**
 * Spreads the table of jobs of a store's `schema` over the nodes of Citus, those that are there included, in one
 * transaction; once however often it is called. On a PostgreSQL without Citus the tables get the same form in one
 * place. Queues, logs and leases stay on the coordinator: they are small, and in the transactions of every job.
 *
 * Only while no gate or manager of the schema runs: one that started before goes on as if nothing were spread.
 *
 * @throws ShardServerUnsupportedError when no node is registered in this database; nothing is changed.
 */
export const shardJobs = async (
  options: Abortable & { readonly database: Database; readonly schema: string },
): Promise<void> => {
  const { database, schema, signal } = options;
  if (!/^[a-z_][a-z0-9_]{0,47}$/.test(schema))
    throw new InvalidInputError(
      "schema",
      schema,
      "1 to 48 characters of [a-z0-9_], not starting with a digit",
    );
  await migrateJobs(database, schema, { signal });
  await database.transaction(
    async (tx) => {
      await tx.query(`SET LOCAL search_path TO ${schema}, public`);
      if (await areJobsSharded(tx, schema)) return;
      await tx.query("ALTER TABLE jobs DROP CONSTRAINT IF EXISTS jobs_idempotency_hash_key");
      const shards = await openShards({ database: within(database, tx), schema: jobShardSchema });
      await shards.migrate();
      await tx.query("INSERT INTO job_submissions SELECT idempotency_hash, job_key FROM jobs");
    },
    { signal },
  );
};

/** Whether {@link shardJobs} has been here. */
export const areJobsSharded = async (
  sql: Pick<SqlClient, "query">,
  schema: string,
  options: Abortable = {},
): Promise<boolean> => {
  const rows = await sql.query<{ found: boolean }>(
    "SELECT to_regclass($1::text) IS NOT NULL AS found",
    [`${schema}.job_submissions`],
    options,
  );
  return rows[0]?.found === true;
};

/** The database as it is seen from inside of a transaction, which is the only one there. */
const within = (database: Database, tx: Transaction): Database => ({
  kind: database.kind,
  serverVersion: database.serverVersion,
  durability: database.durability,
  query: (text, values, options) => tx.query(text, values, options),
  execute: (text, values, options) => tx.execute(text, values, options),
  transaction: (body) => body(tx),
  listen: (...args) => database.listen(...args),
  stats: () => database.stats(),
  close: async () => undefined,
  [Symbol.asyncDispose]: async () => undefined,
});
