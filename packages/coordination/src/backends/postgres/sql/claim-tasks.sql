-- Takes due tasks for a worker, of a queue that is neither paused nor limited.
-- Inputs: $1 queue, $2 most tasks, $3 types or null for all, $4 worker, $5 lease in ms, $6 to $13 after which to begin
--   looking among critical, high, normal and low tasks (due time in microseconds and seq), nulls for the beginning and
--   infinity to pass them over.
-- Result: the claimed tasks in claim order: priority, due time, order of enqueueing. One row with a null id when the
--   queue has settings: then claim-limited.sql is to be asked.
-- Invariant: a task is locked by one claim at a time (others skip it), and the token, one for the whole call,
--   is drawn after all the locks are held, so the tokens of a task grow from claim to claim.
-- A task is found again by its place (ctid), which is cheapest; one that was changed since the statement began has moved
--   and is left for the next claim.
WITH clock AS MATERIALIZED (SELECT clock_timestamp() AS now),
gate AS MATERIALIZED (
  SELECT EXISTS (SELECT FROM :"schema".queue_settings s WHERE s.queue = $1::text) AS has_settings
),
picked AS MATERIALIZED (
  SELECT due.place
  FROM (VALUES (3::smallint, $6::float8, $7::bigint), (2::smallint, $8::float8, $9::bigint),
               (1::smallint, $10::float8, $11::bigint), (0::smallint, $12::float8, $13::bigint))
    AS p (priority, after_us, after_seq)
  CROSS JOIN LATERAL (
    SELECT t.ctid AS place
    FROM :"schema".tasks t
    WHERE t.queue = $1::text AND t.state = 'pending' AND t.priority = p.priority
      AND (t.run_at, t.seq) > (coalesce(to_timestamp(p.after_us / 1000000), '-infinity'), coalesce(p.after_seq, 0))
      AND t.run_at <= (SELECT now FROM clock)
      AND ($3::text[] IS NULL OR t.type = ANY ($3::text[]))
    ORDER BY t.run_at, t.seq
    LIMIT $2::int
    FOR UPDATE SKIP LOCKED
  ) due
  WHERE NOT (SELECT has_settings FROM gate)
  LIMIT $2::int
),
drawn AS MATERIALIZED (
  SELECT :"schema".next_token() AS token FROM (SELECT count(*) AS count FROM picked) locked WHERE locked.count > 0
),
claimed AS (
  UPDATE :"schema".tasks t
  SET state = 'claimed', token = d.token, worker = $4::text, attempt = t.attempt + 1,
      lease_until = c.now + $5::float8 * interval '1 millisecond'
  FROM picked p, drawn d, clock c
  WHERE t.ctid = p.place
  RETURNING t.id, t.type, t.payload, t.task_group, t.token, t.attempt, t.max_attempts, t.enqueued_at, t.timeout_ms,
            t.keep, t.priority, t.run_at, t.seq
)
SELECT c.id, c.type, c.payload, c.task_group, c.token, c.attempt, c.max_attempts,
       :"schema".to_ms(c.enqueued_at) AS enqueued_ms, c.timeout_ms, c.keep, c.priority, date_part('epoch', c.run_at) * 1000000 AS run_us,
       c.seq
FROM gate g LEFT JOIN claimed c ON true
WHERE c.id IS NOT NULL OR g.has_settings
ORDER BY c.priority DESC, c.run_at, c.seq
