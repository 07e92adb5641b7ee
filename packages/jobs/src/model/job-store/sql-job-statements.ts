/** The statements of `SqlJobTable` for one schema (a checked name). Each is one atomic operation. */
export interface JobStatements {
  readonly insert: string;
  readonly existing: string;
  readonly update: string;
  readonly takeOver: string;
  readonly get: string;
  readonly list: string;
  readonly counts: string;
  readonly purge: string;
}

export const COLUMNS = [
  "job_key",
  "job_id",
  "idempotency_key",
  "payload_hash",
  "owner",
  "fence",
  "status",
  "name",
  "labels",
  "spec",
  "state",
  "submitted_at",
  "finished_at",
] as const;

/** Milliseconds since the epoch by the server's clock, of this very moment and not of the transaction's start. */
export const NOW = "floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint";

export const jobStatements = (schema: string): JobStatements => {
  const table = `${schema}.jobs`;
  const columns = COLUMNS.join(", ");
  const prefixed = COLUMNS.map((column) => `jobs.${column}`).join(", ");
  return {
    // In: parallel arrays $1..$11, $12 terminal statuses. Out: the keys that were not there.
    insert: `
INSERT INTO ${table} (job_key, job_id, idempotency_hash, idempotency_key, payload_hash, owner, fence, status,
  name, labels, spec, state, submitted_at, finished_at)
SELECT new.job_key, new.job_id, new.idempotency_hash, new.idempotency_key, new.payload_hash, new.owner, 1,
  new.status, new.name, new.labels::json, new.spec::json, new.state::json, moment.now,
  CASE WHEN new.status = ANY ($12::text[]) THEN moment.now END
FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[],
    $9::text[], $10::text[], $11::text[])
  AS new (job_key, job_id, idempotency_hash, idempotency_key, payload_hash, owner, status, name, labels, spec,
    state)
  CROSS JOIN (SELECT ${NOW} AS now) AS moment
ON CONFLICT DO NOTHING
RETURNING job_key, submitted_at`,
    // In: keys $1, idempotency hashes $2. Out: the rows that have one of them.
    existing: `SELECT ${columns} FROM ${table} WHERE job_key = ANY ($1::text[]) OR idempotency_hash = ANY ($2::text[])`,
    // In: parallel arrays of key, fence, status, state (null: unchanged); $5 terminal statuses.
    // Out: the keys changed. A row changes only under its fence and never after it has ended.
    update: `
UPDATE ${table} AS jobs
SET status = new.status,
  state = coalesce(new.state::json, jobs.state),
  finished_at = CASE WHEN new.status = ANY ($5::text[]) THEN ${NOW} END
FROM unnest($1::text[], $2::bigint[], $3::text[], $4::text[]) AS new (job_key, fence, status, state)
WHERE jobs.job_key = new.job_key AND jobs.fence = new.fence AND jobs.finished_at IS NULL
RETURNING jobs.job_key`,
    // In: $1 new owner, $2 live owners, $3 limit. A row that another taker holds is left to it.
    takeOver: `
WITH orphan AS MATERIALIZED (
  SELECT job_key, owner AS previous_owner FROM ${table}
  WHERE finished_at IS NULL AND NOT (owner = ANY ($2::text[]))
  ORDER BY submitted_at, job_key LIMIT $3::int
  FOR UPDATE SKIP LOCKED
)
UPDATE ${table} AS jobs SET owner = $1::text, fence = jobs.fence + 1
FROM orphan WHERE jobs.job_key = orphan.job_key
RETURNING ${prefixed}, orphan.previous_owner`,
    get: `SELECT ${columns} FROM ${table} WHERE job_key = ANY ($1::text[])`,
    // In: $1 statuses or null, $2 search or null, $3 and $4 the cursor or null, $5 limit. Newest first.
    list: `
SELECT ${columns} FROM ${table}
WHERE ($1::text[] IS NULL OR status = ANY ($1::text[]))
  AND ($2::text IS NULL OR strpos(lower(name || E'\\n' || job_id), lower($2::text)) > 0)
  AND ($3::bigint IS NULL OR (submitted_at, job_key) < ($3::bigint, $4::text COLLATE "C"))
ORDER BY submitted_at DESC, job_key DESC LIMIT $5::int`,
    counts: `SELECT status, count(*) AS count FROM ${table} GROUP BY status`,
    // In: $1 age in milliseconds, $2 limit. Those that ended first go first; two sweepers do not meet.
    // The spec comes back whole: PostgreSQL's own json functions refuse texts with \u0000.
    purge: `
WITH old AS MATERIALIZED (
  SELECT job_key FROM ${table}
  WHERE finished_at IS NOT NULL AND finished_at <= ${NOW} - $1::bigint
  ORDER BY finished_at, job_key LIMIT $2::int
  FOR UPDATE SKIP LOCKED
)
DELETE FROM ${table} AS jobs USING old WHERE jobs.job_key = old.job_key
RETURNING jobs.job_id, jobs.spec`,
  };
};
