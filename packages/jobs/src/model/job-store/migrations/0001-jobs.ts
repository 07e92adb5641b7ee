/**
 * The table of jobs.
 *
 * `job_key` and `idempotency_hash` are the ids themselves, or their digest when they are too long to index.
 * `state` and `spec` are json, not jsonb: they are written often, read whole, and never searched. Instants are
 * milliseconds since the epoch by the server's clock.
 */
export const sql0001 = (schema: string): string => `
CREATE TABLE ${schema}.jobs (
  job_key text COLLATE "C" PRIMARY KEY,
  job_id text NOT NULL,
  idempotency_hash text COLLATE "C" NOT NULL UNIQUE,
  idempotency_key text NOT NULL,
  payload_hash text NOT NULL,
  owner text COLLATE "C" NOT NULL,
  fence bigint NOT NULL,
  status text NOT NULL,
  name text NOT NULL,
  labels json NOT NULL,
  spec json NOT NULL,
  state json NOT NULL,
  submitted_at bigint NOT NULL,
  finished_at bigint
);
CREATE INDEX jobs_by_age ON ${schema}.jobs (submitted_at DESC, job_key DESC);
CREATE INDEX jobs_unfinished ON ${schema}.jobs (submitted_at) WHERE finished_at IS NULL;
CREATE INDEX jobs_finished ON ${schema}.jobs (finished_at) WHERE finished_at IS NOT NULL;
`;
