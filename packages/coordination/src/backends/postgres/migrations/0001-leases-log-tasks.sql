-- Leases, logs and task queues.
--
-- Statements are separated by lines that hold nothing but a dash comment "-- next". :"schema" stands for the
-- quoted schema name, as in psql.

-- The one line of fence tokens. Its low part is this sequence; see next_token.
CREATE SEQUENCE :"schema".fence_tokens AS bigint;
-- next
-- Inputs: none. Result: the server's timeline, which grows with every promotion and point-in-time recovery.
CREATE FUNCTION :"schema".server_timeline() RETURNS bigint LANGUAGE sql STABLE AS $$
  SELECT ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::bigint
$$;
-- next
-- Inputs: none. Result: a token larger than every token that was drawn before and committed.
-- Invariant: the timeline is the high part (above 2^40), so tokens still grow after the promotion of a replica
-- that missed the last of them, and after a recovery to an earlier time.
CREATE FUNCTION :"schema".next_token() RETURNS bigint LANGUAGE sql VOLATILE AS $$
  SELECT (:"schema".server_timeline() << 40) + nextval(':"schema".fence_tokens'::regclass)
$$;
-- next
-- Inputs: an instant. Result: milliseconds since the epoch.
CREATE FUNCTION :"schema".to_ms(at timestamptz) RETURNS float8 LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT (extract(epoch FROM at) * 1000)::float8
$$;
-- next
-- One row per name that was ever granted, until a day after it lapsed. A released lease keeps its row, so that
-- the next grant takes its token only after it has locked the row.
CREATE TABLE :"schema".leases (
  name text COLLATE "C" PRIMARY KEY,
  owner text NOT NULL,
  token bigint NOT NULL,
  expires_at timestamptz NOT NULL,
  released boolean NOT NULL DEFAULT false,
  request_id text,
  metadata json NOT NULL
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 500);
-- next
-- Each life of each stream gets an epoch of its own from here, which is also the key of its entries.
CREATE SEQUENCE :"schema".stream_epochs AS bigint;
-- next
CREATE TABLE :"schema".streams (
  name text COLLATE "C" PRIMARY KEY,
  epoch bigint NOT NULL,
  head bigint NOT NULL,
  trimmed_to bigint NOT NULL DEFAULT 0
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 500);
-- next
CREATE TABLE :"schema".entries (
  epoch bigint NOT NULL,
  entry_offset bigint NOT NULL,
  appended_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  payload json NOT NULL,
  PRIMARY KEY (epoch, entry_offset)
);
-- next
CREATE TABLE :"schema".tasks (
  queue text COLLATE "C" NOT NULL,
  id text COLLATE "C" NOT NULL,
  seq bigint GENERATED ALWAYS AS IDENTITY,
  run_at timestamptz NOT NULL,
  enqueued_at timestamptz NOT NULL,
  lease_until timestamptz,
  finished_at timestamptz,
  token bigint NOT NULL DEFAULT 0,
  backoff_base_ms float8 NOT NULL,
  backoff_factor float8 NOT NULL,
  backoff_cap_ms float8 NOT NULL,
  attempt integer NOT NULL DEFAULT 0,
  max_attempts integer NOT NULL,
  -- 0 low, 1 normal, 2 high, 3 critical
  priority smallint NOT NULL,
  state text COLLATE "C" NOT NULL DEFAULT 'pending'
    CHECK (state IN ('pending', 'claimed', 'completed', 'dead', 'cancelled')),
  type text COLLATE "C" NOT NULL,
  worker text,
  task_group text COLLATE "C",
  dedupe_key text COLLATE "C",
  payload json NOT NULL,
  result json,
  failures json[] NOT NULL DEFAULT '{}',
  PRIMARY KEY (queue, id)
) WITH (
  -- Every state change leaves a dead row in the indexes that claims walk over, so vacuum early and without pauses.
  autovacuum_vacuum_scale_factor = 0.02,
  autovacuum_vacuum_threshold = 1000,
  autovacuum_vacuum_cost_delay = 0,
  autovacuum_analyze_scale_factor = 0.1
);
-- next
-- Claims walk this one, one priority after the other.
CREATE INDEX tasks_ready ON :"schema".tasks (queue, priority, run_at, seq) WHERE state = 'pending';
-- next
CREATE INDEX tasks_claimed ON :"schema".tasks (queue, lease_until) WHERE state = 'claimed';
-- next
CREATE INDEX tasks_finished ON :"schema".tasks (queue, finished_at) WHERE finished_at IS NOT NULL;
-- next
CREATE INDEX tasks_group ON :"schema".tasks (queue, task_group) WHERE task_group IS NOT NULL;
-- next
CREATE UNIQUE INDEX tasks_dedupe ON :"schema".tasks (queue, dedupe_key)
  WHERE dedupe_key IS NOT NULL AND state IN ('pending', 'claimed');
