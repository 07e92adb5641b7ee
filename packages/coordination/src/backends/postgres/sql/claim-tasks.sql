-- Takes due tasks for a worker.
-- Inputs: $1 queue, $2 most tasks, $3 types or null for all, $4 worker, $5 lease in ms.
-- Result: the claimed tasks in claim order: priority, due time, order of enqueueing.
-- Invariant: a task is locked by one claim at a time (others skip it), and the token, one for the whole call,
--   is drawn after all the locks are held, so the tokens of a task grow from claim to claim.
WITH clock AS MATERIALIZED (SELECT clock_timestamp() AS now),
picked AS MATERIALIZED (
  SELECT due.id
  FROM (VALUES (3::smallint), (2::smallint), (1::smallint), (0::smallint)) AS p (priority)
  CROSS JOIN LATERAL (
    SELECT t.id
    FROM :"schema".tasks t
    WHERE t.queue = $1::text AND t.state = 'pending' AND t.priority = p.priority
      AND t.run_at <= (SELECT now FROM clock)
      AND ($3::text[] IS NULL OR t.type = ANY ($3::text[]))
    ORDER BY t.run_at, t.seq
    LIMIT $2::int
    FOR UPDATE SKIP LOCKED
  ) due
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
  WHERE t.queue = $1::text AND t.id = p.id
  RETURNING t.id, t.type, t.payload, t.task_group, t.token, t.attempt, t.max_attempts, t.enqueued_at,
            t.priority, t.run_at, t.seq
)
SELECT id, type, payload::text AS payload, task_group, token, attempt, max_attempts,
       :"schema".to_ms(enqueued_at) AS enqueued_at
FROM claimed
ORDER BY priority DESC, run_at, seq
