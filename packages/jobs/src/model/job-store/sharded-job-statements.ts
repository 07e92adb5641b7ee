import { COLUMNS, jobStatements, NOW } from "./sql-job-statements.ts";

/** The statements of `ShardedJobTable` for one schema (a checked name): what Citus takes over several nodes. */
export interface ShardedStatements {
  readonly insert: string;
  readonly submit: string;
  readonly takeBack: string;
  readonly existing: string;
  readonly update: string;
  readonly orphans: string;
  readonly take: string;
  readonly old: string;
  readonly purge: string;
  readonly forget: string;
  readonly now: string;
}

export const shardedStatements = (schema: string): ShardedStatements => {
  const jobs = `${schema}.jobs`;
  const submissions = `${schema}.job_submissions`;
  const columns = COLUMNS.join(", ");
  const prefixed = COLUMNS.map((column) => `jobs.${column}`).join(", ");
  const plain = jobStatements(schema);
  return {
    insert: plain.insert,
    // In: parallel arrays of hash and key. Out: the hashes that were not there.
    submit: `
INSERT INTO ${submissions} (idempotency_hash, job_key)
SELECT new.idempotency_hash, new.job_key FROM unnest($1::text[], $2::text[]) AS new (idempotency_hash, job_key)
ON CONFLICT DO NOTHING RETURNING idempotency_hash`,
    // In: keys that this very transaction has inserted.
    takeBack: `DELETE FROM ${jobs} WHERE job_key = ANY ($1::text[])`,
    // In: keys $1, idempotency hashes $2. Out: the rows that have one of them.
    existing: `
SELECT ${columns} FROM ${jobs} WHERE job_key = ANY ($1::text[])
  OR job_key IN (SELECT job_key FROM ${submissions} WHERE idempotency_hash = ANY ($2::text[]))`,
    // As the plain one, with the instant as $6.
    update: `
UPDATE ${jobs} AS jobs
SET status = new.status,
  state = coalesce(new.state::json, jobs.state),
  finished_at = CASE WHEN new.status = ANY ($5::text[]) THEN $6::bigint END
FROM unnest($1::text[], $2::bigint[], $3::text[], $4::text[]) AS new (job_key, fence, status, state)
WHERE jobs.job_key = new.job_key AND jobs.fence = new.fence AND jobs.finished_at IS NULL
RETURNING jobs.job_key`,
    // In: $1 live owners, $2 limit. Out: what to take, oldest first.
    orphans: `
SELECT job_key, owner, fence FROM ${jobs} WHERE finished_at IS NULL AND NOT (owner = ANY ($1::text[]))
ORDER BY submitted_at, job_key LIMIT $2::int`,
    // In: $1 new owner, parallel arrays of key and the fence that was seen. Out: the rows that nobody else took first.
    take: `
UPDATE ${jobs} AS jobs SET owner = $1::text, fence = jobs.fence + 1
FROM unnest($2::text[], $3::bigint[]) AS seen (job_key, fence)
WHERE jobs.job_key = seen.job_key AND jobs.fence = seen.fence AND jobs.finished_at IS NULL
RETURNING ${prefixed}`,
    // In: $1 the instant until which they ended, $2 limit. Out: keys, those that ended first before others.
    old: `
SELECT job_key FROM ${jobs} WHERE finished_at IS NOT NULL AND finished_at <= $1::bigint
ORDER BY finished_at, job_key LIMIT $2::int`,
    // A job that has ended stays so; one that another sweeper was faster with gives no row.
    purge: `
DELETE FROM ${jobs} WHERE job_key = ANY ($1::text[]) AND finished_at IS NOT NULL
RETURNING job_id, spec, idempotency_hash`,
    forget: `DELETE FROM ${submissions} WHERE idempotency_hash = ANY ($1::text[])`,
    now: `SELECT ${NOW}::text AS now`,
  };
};
