-- A rate whose bucket was filled up later than now, because the server's clock was set back, refills from now on; it did
-- so only once the clock had come to where it was. All else is as in 0004.
-- Takes due tasks of a queue that may be paused or limited: see claim-tasks.sql, which takes those of all others.
-- Inputs: queue, most tasks, types or null for all, worker, lease in ms, priorities.
-- Result: the claimed tasks in claim order; one row with a null id when the queue has no settings.
-- Invariant: claims of such a queue take turns on its row of settings, so what they count holds while they decide.
CREATE OR REPLACE FUNCTION :"schema".claim_limited(of_queue text, max_count integer, of_types text[], of_worker text, lease_ms float8,
                                         of_priorities smallint[])
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
    IF s.tokens_at > now_at THEN
      UPDATE :"schema".queue_settings q SET tokens_at = now_at WHERE q.queue = of_queue;
    END IF;
  END IF;
  IF room < 1 THEN RETURN; END IF;
  has_key_limits := s.key_concurrency IS NOT NULL OR s.key_rate_count IS NOT NULL;
  RETURN QUERY
  WITH waiting AS MATERIALIZED (
    SELECT due.*
    FROM (SELECT v.priority
          FROM (VALUES (3::smallint), (2::smallint), (1::smallint), (0::smallint)) AS v (priority)
          WHERE v.priority = ANY (of_priorities)) p
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
  ),
  -- Of these nothing is spent.
  set_back AS (
    UPDATE :"schema".limit_keys l SET tokens_at = now_at
    FROM keys k
    WHERE l.queue = of_queue AND l.limit_key = k.limit_key AND k.key_room < 1 AND l.tokens_at > now_at
  )
  SELECT c.id, c.type, c.payload::text, c.task_group, c.token, c.attempt, c.max_attempts,
         :"schema".to_ms(c.enqueued_at), c.timeout_ms, c.keep
  FROM claimed c
  ORDER BY c.priority DESC, c.run_at, c.seq;
END
$$;
