-- Task queues: every backoff, dependencies, limits, pauses, schedules, progress, dedupe windows.
--
-- What a task does not use is a null or a default here and costs nothing where tasks are claimed and completed.

-- Inputs: an instant. Result: milliseconds since the epoch.
CREATE OR REPLACE FUNCTION :"schema".to_ms(at timestamptz) RETURNS float8 LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT date_part('epoch', at) * 1000
$$;
-- next
ALTER TABLE :"schema".tasks
  -- kind (0 exponential, 1 linear, 2 fibonacci, 3 decorrelated), base in ms, factor, cap in ms,
  -- jitter (0 half, 1 full, 2 none); null for {0,1000,2,60000,0}
  ADD COLUMN backoff float8[],
  ADD COLUMN last_delay_ms float8,
  ADD COLUMN timeout_ms float8,
  ADD COLUMN limit_key text COLLATE "C",
  ADD COLUMN progress json,
  -- how many tasks it waits for, while waiting
  ADD COLUMN waits_for integer,
  ADD COLUMN has_dependents boolean NOT NULL DEFAULT false,
  -- false: a completed task is deleted
  ADD COLUMN keep boolean NOT NULL DEFAULT true,
  DROP CONSTRAINT tasks_state_check,
  ADD CONSTRAINT tasks_state_check
    CHECK (state IN ('waiting', 'pending', 'claimed', 'completed', 'dead', 'cancelled'));
-- next
UPDATE :"schema".tasks SET backoff = ARRAY[0, backoff_base_ms, backoff_factor, backoff_cap_ms, 0]
WHERE state NOT IN ('completed', 'cancelled')
  AND (backoff_base_ms, backoff_factor, backoff_cap_ms) IS DISTINCT FROM (1000::float8, 2::float8, 60000::float8);
-- next
ALTER TABLE :"schema".tasks
  DROP COLUMN backoff_base_ms,
  DROP COLUMN backoff_factor,
  DROP COLUMN backoff_cap_ms;
-- next
-- A payload that makes its row larger than 2 KB lies beside the table, uncompressed: a claim then does not write it
-- again, and compressing costs more time than it saves.
ALTER TABLE :"schema".tasks ALTER COLUMN payload SET STORAGE EXTERNAL;
-- next
DROP INDEX :"schema".tasks_dedupe;
-- next
CREATE UNIQUE INDEX tasks_dedupe ON :"schema".tasks (queue, dedupe_key)
  WHERE dedupe_key IS NOT NULL AND state IN ('waiting', 'pending', 'claimed');
-- next
CREATE INDEX tasks_limit_key ON :"schema".tasks (queue, limit_key) WHERE limit_key IS NOT NULL AND state = 'claimed';
-- next
-- Dedupe keys that count for a time, whatever became of their task.
CREATE TABLE :"schema".dedupe_windows (
  queue text COLLATE "C" NOT NULL,
  dedupe_key text COLLATE "C" NOT NULL,
  task_id text COLLATE "C" NOT NULL,
  ends_at timestamptz NOT NULL,
  PRIMARY KEY (queue, dedupe_key)
);
-- next
CREATE INDEX dedupe_windows_ends ON :"schema".dedupe_windows (queue, ends_at);
-- next
-- Who waits for whom. A row lives until the dependency has ended as wanted.
CREATE TABLE :"schema".task_dependencies (
  queue text COLLATE "C" NOT NULL,
  dependency text COLLATE "C" NOT NULL,
  dependent text COLLATE "C" NOT NULL,
  any_end boolean NOT NULL,
  PRIMARY KEY (queue, dependency, dependent)
);
-- next
CREATE INDEX task_dependencies_dependent ON :"schema".task_dependencies (queue, dependent);
-- next
-- One row per queue that was ever paused or limited; the others have none, which is what makes them fast.
CREATE TABLE :"schema".queue_settings (
  queue text COLLATE "C" PRIMARY KEY,
  paused boolean NOT NULL DEFAULT false,
  concurrency integer,
  rate_count integer,
  rate_per_ms float8,
  key_concurrency integer,
  key_rate_count integer,
  key_rate_per_ms float8,
  -- what was left of the rate at an instant; null for all of it
  tokens float8,
  tokens_at timestamptz
) WITH (fillfactor = 50);
-- next
CREATE TABLE :"schema".limit_keys (
  queue text COLLATE "C" NOT NULL,
  limit_key text COLLATE "C" NOT NULL,
  tokens float8 NOT NULL,
  tokens_at timestamptz NOT NULL,
  PRIMARY KEY (queue, limit_key)
) WITH (fillfactor = 50);
-- next
CREATE TABLE :"schema".schedules (
  queue text COLLATE "C" NOT NULL,
  name text COLLATE "C" NOT NULL,
  spec json NOT NULL,
  next_at timestamptz,
  PRIMARY KEY (queue, name)
);
-- next
-- Inputs: a backoff or null for the default, the attempt that failed, a chance in [0, 1), the wait before or null.
-- Result: the wait in ms. The same sum is in task-draft.ts.
CREATE FUNCTION :"schema".backoff_ms(backoff float8[], attempt integer, chance float8, last_ms float8)
RETURNS float8 LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT CASE WHEN b.kind = 3
    THEN least(b.cap, b.base + chance * (3 * greatest(b.base, coalesce(last_ms, b.base)) - b.base))
    ELSE least(b.cap, CASE b.kind
        WHEN 0 THEN b.base * power(b.factor, b.step)
        WHEN 1 THEN b.base * (1 + b.factor * b.step)
        ELSE b.base * round(power((1 + sqrt(5::float8)) / 2, b.step + 1) / sqrt(5::float8))
      END) * CASE b.jitter WHEN 0 THEN 1 - chance / 2 WHEN 1 THEN 1 - chance ELSE 1 END
  END
  FROM (SELECT coalesce(backoff[1], 0) AS kind, coalesce(backoff[2], 1000) AS base, coalesce(backoff[3], 2) AS factor,
               coalesce(backoff[4], 60000) AS cap, coalesce(backoff[5], 0) AS jitter,
               least(greatest(attempt - 1, 0), 100) AS step) b
$$;
-- next
-- What is left of a rate limit now.
CREATE FUNCTION :"schema".refilled(tokens float8, tokens_at timestamptz, rate_count integer, rate_per_ms float8, now timestamptz)
RETURNS float8 LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT least(rate_count::float8, coalesce(tokens + greatest(0, :"schema".to_ms(now) - :"schema".to_ms(tokens_at))
    * rate_count / rate_per_ms, rate_count))
$$;
-- next
-- Tells those that wait for tasks that these have ended.
-- Inputs: queue, ids of tasks that ended, whether they completed. Result: how many tasks became pending.
-- Invariant: dependents are locked in the order of ids.
CREATE FUNCTION :"schema".release_dependents(of_queue text, ended text[], completed boolean)
RETURNS integer LANGUAGE plpgsql VOLATILE AS $$
DECLARE
  now_at timestamptz := clock_timestamp();
  freed text[];
  released integer;
BEGIN
  PERFORM FROM :"schema".tasks t
  WHERE t.queue = of_queue AND t.id IN (
    SELECT d.dependent FROM :"schema".task_dependencies d
    WHERE d.queue = of_queue AND d.dependency = ANY (ended) AND (completed OR d.any_end))
  ORDER BY t.id
  FOR UPDATE;
  WITH gone AS (
    DELETE FROM :"schema".task_dependencies d
    WHERE d.queue = of_queue AND d.dependency = ANY (ended) AND (completed OR d.any_end)
    RETURNING d.dependent
  )
  SELECT array_agg(dependent) INTO freed FROM gone;
  WITH counted AS (SELECT f.id, count(*)::integer AS count FROM unnest(freed) AS f (id) GROUP BY f.id),
  moved AS (
    UPDATE :"schema".tasks t
    SET waits_for = t.waits_for - c.count,
        state = CASE WHEN t.waits_for <= c.count THEN 'pending' ELSE t.state END,
        run_at = CASE WHEN t.waits_for <= c.count THEN greatest(t.run_at, now_at) ELSE t.run_at END
    FROM counted c
    WHERE t.queue = of_queue AND t.id = c.id AND t.state = 'waiting'
    RETURNING t.state
  )
  SELECT count(*) FILTER (WHERE state = 'pending') INTO released FROM moved;
  RETURN released;
END
$$;
-- next
-- Takes due tasks of a queue that may be paused or limited: see claim-tasks.sql, which takes those of all others.
-- Inputs: queue, most tasks, types or null for all, worker, lease in ms.
-- Result: the claimed tasks in claim order; one row with a null id when the queue has no settings.
-- Invariant: claims of such a queue take turns on its row of settings, so what they count holds while they decide.
CREATE FUNCTION :"schema".claim_limited(of_queue text, max_count integer, of_types text[], of_worker text, lease_ms float8)
RETURNS TABLE (id text, type text, payload text, task_group text, token bigint, attempt integer, max_attempts integer,
               enqueued_ms float8, timeout_ms float8, keep boolean)
LANGUAGE plpgsql VOLATILE AS $$
#variable_conflict use_column
DECLARE
  s :"schema".queue_settings;
  now_at timestamptz;
  room float8;
  tokens_left float8;
  has_key_limits boolean;
BEGIN
  SELECT * INTO s FROM :"schema".queue_settings q WHERE q.queue = of_queue FOR UPDATE;
  IF NOT FOUND THEN
    RETURN QUERY SELECT NULL::text, NULL::text, NULL::text, NULL::text, NULL::bigint, NULL::integer, NULL::integer,
                        NULL::float8, NULL::float8, NULL::boolean;
    RETURN;
  END IF;
  IF s.paused THEN RETURN; END IF;
  now_at := clock_timestamp();
  room := max_count;
  IF s.concurrency IS NOT NULL THEN
    room := least(room, s.concurrency - (
      SELECT count(*) FROM (
        SELECT FROM :"schema".tasks t WHERE t.queue = of_queue AND t.state = 'claimed' LIMIT s.concurrency) held));
  END IF;
  IF s.rate_count IS NOT NULL THEN
    tokens_left := :"schema".refilled(s.tokens, s.tokens_at, s.rate_count, s.rate_per_ms, now_at);
    room := least(room, floor(tokens_left));
  END IF;
  IF room < 1 THEN RETURN; END IF;
  has_key_limits := s.key_concurrency IS NOT NULL OR s.key_rate_count IS NOT NULL;
  RETURN QUERY
  WITH waiting AS MATERIALIZED (
    SELECT due.*
    FROM (VALUES (3::smallint), (2::smallint), (1::smallint), (0::smallint)) AS p (priority)
    CROSS JOIN LATERAL (
      SELECT t.id, t.limit_key, t.priority, t.run_at, t.seq FROM :"schema".tasks t
      WHERE t.queue = of_queue AND t.state = 'pending' AND t.priority = p.priority AND t.run_at <= now_at
        AND (of_types IS NULL OR t.type = ANY (of_types))
      ORDER BY t.run_at, t.seq
      LIMIT room + CASE WHEN has_key_limits THEN 10000 ELSE 0 END
    ) due
    LIMIT room + CASE WHEN has_key_limits THEN 10000 ELSE 0 END
  ),
  keys AS MATERIALIZED (
    SELECT k.limit_key, least(
        CASE WHEN s.key_concurrency IS NULL THEN room ELSE s.key_concurrency - (
          SELECT count(*) FROM (
            SELECT FROM :"schema".tasks t
            WHERE t.queue = of_queue AND t.state = 'claimed' AND t.limit_key = k.limit_key
            LIMIT s.key_concurrency) held) END,
        CASE WHEN s.key_rate_count IS NULL THEN room ELSE floor(coalesce((
          SELECT :"schema".refilled(l.tokens, l.tokens_at, s.key_rate_count, s.key_rate_per_ms, now_at)
          FROM :"schema".limit_keys l WHERE l.queue = of_queue AND l.limit_key = k.limit_key),
          s.key_rate_count)) END) AS key_room
    FROM (SELECT DISTINCT w.limit_key FROM waiting w WHERE has_key_limits AND w.limit_key IS NOT NULL) k
  ),
  picked AS MATERIALIZED (
    SELECT n.id
    FROM (SELECT w.*, row_number() OVER (PARTITION BY w.limit_key ORDER BY w.priority DESC, w.run_at, w.seq) AS place
          FROM waiting w) n
    LEFT JOIN keys k ON k.limit_key = n.limit_key
    WHERE k.limit_key IS NULL OR n.place <= k.key_room
    ORDER BY n.priority DESC, n.run_at, n.seq
    LIMIT room
  ),
  locked AS MATERIALIZED (
    SELECT t.id FROM picked p JOIN :"schema".tasks t ON t.queue = of_queue AND t.id = p.id
    WHERE t.state = 'pending'
    FOR UPDATE OF t SKIP LOCKED
  ),
  drawn AS MATERIALIZED (
    SELECT :"schema".next_token() AS token FROM (SELECT count(*) AS count FROM locked) l WHERE l.count > 0
  ),
  claimed AS (
    UPDATE :"schema".tasks t
    SET state = 'claimed', token = d.token, worker = of_worker, attempt = t.attempt + 1,
        lease_until = now_at + lease_ms * interval '1 millisecond'
    FROM locked l, drawn d
    WHERE t.queue = of_queue AND t.id = l.id
    RETURNING t.id, t.type, t.payload, t.task_group, t.token, t.attempt, t.max_attempts, t.enqueued_at, t.timeout_ms,
              t.keep, t.limit_key, t.priority, t.run_at, t.seq
  ),
  spent AS (
    UPDATE :"schema".queue_settings q SET tokens = tokens_left - (SELECT count(*) FROM claimed), tokens_at = now_at
    WHERE q.queue = of_queue AND q.rate_count IS NOT NULL
  ),
  spent_by_key AS (
    INSERT INTO :"schema".limit_keys AS l (queue, limit_key, tokens, tokens_at)
    SELECT of_queue, c.limit_key, s.key_rate_count - count(*), now_at
    FROM claimed c WHERE c.limit_key IS NOT NULL AND s.key_rate_count IS NOT NULL
    GROUP BY c.limit_key
    ON CONFLICT (queue, limit_key) DO UPDATE
    SET tokens = :"schema".refilled(l.tokens, l.tokens_at, s.key_rate_count, s.key_rate_per_ms, now_at)
          - (s.key_rate_count - excluded.tokens),
        tokens_at = now_at
  )
  SELECT c.id, c.type, c.payload::text, c.task_group, c.token, c.attempt, c.max_attempts,
         :"schema".to_ms(c.enqueued_at), c.timeout_ms, c.keep
  FROM claimed c
  ORDER BY c.priority DESC, c.run_at, c.seq;
END
$$;
