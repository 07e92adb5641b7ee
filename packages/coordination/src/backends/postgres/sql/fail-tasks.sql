-- Ends claims that their token holds: back to pending after a wait, or to dead letter.
-- Inputs: $1 queue; per failure: $2 id, $3 token, $4 error (JSON text), $5 retry, $6 wait in ms or null for the
--   backoff, $7 chance in [0, 1) (jitter), $8 give the attempt back, without a wait with its place; $9 failures kept,
--   $10 what to notify.
-- The input and the joined state: see complete-kept-tasks.sql.
-- Result: n (1 …), outcome, attempt and wait of each claim that ended; the others are stale and unchanged.
-- Invariant: rows are locked in the order of ids before anything is decided from them.
WITH clock AS MATERIALIZED (SELECT clock_timestamp() AS now),
held AS MATERIALIZED (
  SELECT i.queue, t.id, t.attempt AS tried, t.max_attempts, i.n, i.error, i.retry,
         t.attempt - CASE WHEN i.uncounted THEN 1 ELSE 0 END AS attempt,
         i.uncounted AND i.delay_ms IS NULL AS keeps_place,
         CASE WHEN i.uncounted THEN coalesce(i.delay_ms, 0)
              ELSE coalesce(i.delay_ms, :"schema".backoff_ms(t.backoff, t.attempt, i.chance, t.last_delay_ms))
         END AS delay_ms
  FROM (
    SELECT $1::text AS queue, u.*
    FROM unnest(
      $2::text[], $3::bigint[], $4::text[], $5::boolean[], $6::float8[], $7::float8[], $8::boolean[]
    ) WITH ORDINALITY AS u (id, token, error, retry, delay_ms, chance, uncounted, n)
    WHERE u.n BETWEEN 1 AND 1000000 AND u.n + 0 BETWEEN 1 AND 1000000
    OFFSET 0
  ) AS i
  JOIN :"schema".tasks t
    ON t.queue = i.queue AND t.id = i.id AND t.token = i.token AND t.state || '' = 'claimed'
  ORDER BY t.id
  FOR UPDATE OF t
),
decided AS MATERIALIZED (
  SELECT DISTINCT ON (id) *, NOT retry OR attempt >= max_attempts AS is_dead FROM held ORDER BY id, n
),
ended AS (
  UPDATE :"schema".tasks t
  SET state = CASE WHEN d.is_dead THEN 'dead' ELSE 'pending' END,
      attempt = d.attempt,
      run_at = CASE WHEN d.is_dead OR d.keeps_place THEN t.run_at ELSE c.now + d.delay_ms * interval '1 millisecond' END,
      last_delay_ms = d.delay_ms,
      finished_at = CASE WHEN d.is_dead THEN c.now END,
      worker = CASE WHEN d.is_dead THEN t.worker END,
      failures = array_append(
        t.failures[greatest(1, cardinality(t.failures) - $9::int + 2):],
        json_build_object('attempt', d.tried, 'at', :"schema".to_ms(c.now), 'worker', t.worker,
                          'error', d.error::json))
  FROM decided d, clock c
  WHERE t.queue = d.queue AND t.id = d.id
  RETURNING d.n, d.is_dead, d.attempt, d.delay_ms, t.id, t.has_dependents
),
released AS MATERIALIZED (
  SELECT :"schema".release_dependents($1::text, array_agg(id), false)
  FROM ended WHERE has_dependents AND is_dead HAVING count(*) > 0
),
told AS MATERIALIZED (
  SELECT pg_notify(:'channel', $10::text)
  WHERE EXISTS (SELECT FROM decided WHERE NOT is_dead) OR EXISTS (SELECT FROM released)
    OR EXISTS (SELECT FROM :"schema".queue_settings s WHERE s.queue = $1::text)
)
SELECT n::int AS n, CASE WHEN is_dead THEN 'dead' ELSE 'retrying' END AS outcome, attempt, delay_ms
FROM ended LEFT JOIN told ON true
