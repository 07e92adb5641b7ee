-- Ends claims whose lease ran out: back to pending in their old place, or to dead letter after the last attempt.
-- Inputs: $1 queue, $2 most tasks, $3 error (JSON text), $4 failures kept, $5 what to notify,
--   $6 how many ms before now a lease may have ended, or null.
-- Result: the tasks, in the order in which they lapsed.
-- Invariant: each lapse is found by one caller (others skip locked rows); a claim renewed meanwhile is left alone.
WITH clock AS MATERIALIZED (SELECT clock_timestamp() AS now),
lapsed AS MATERIALIZED (
  SELECT t.id, t.worker, t.lease_until, t.attempt >= t.max_attempts AS is_dead
  FROM :"schema".tasks t
  WHERE t.queue = $1::text AND t.state = 'claimed' AND t.lease_until <= (SELECT now FROM clock)
    AND t.lease_until > coalesce((SELECT now FROM clock) - $6::float8 * interval '1 millisecond', '-infinity')
  ORDER BY t.lease_until
  LIMIT $2::int
  FOR UPDATE SKIP LOCKED
),
ended AS (
  UPDATE :"schema".tasks t
  SET state = CASE WHEN l.is_dead THEN 'dead' ELSE 'pending' END,
      finished_at = CASE WHEN l.is_dead THEN c.now END,
      worker = CASE WHEN l.is_dead THEN t.worker END,
      failures = array_append(
        t.failures[greatest(1, cardinality(t.failures) - $4::int + 2):],
        json_build_object('attempt', t.attempt, 'at', :"schema".to_ms(c.now), 'worker', t.worker,
                          'error', $3::json))
  FROM lapsed l, clock c
  WHERE t.queue = $1::text AND t.id = l.id
  RETURNING t.id, t.task_group, t.attempt, l.worker, l.is_dead, l.lease_until, t.has_dependents
),
released AS MATERIALIZED (
  SELECT :"schema".release_dependents($1::text, array_agg(id), false)
  FROM ended WHERE has_dependents AND is_dead HAVING count(*) > 0
),
told AS MATERIALIZED (
  SELECT pg_notify(:'channel', $5::text)
  WHERE EXISTS (SELECT FROM lapsed WHERE NOT is_dead) OR EXISTS (SELECT FROM released)
)
SELECT id, task_group, attempt, worker, CASE WHEN is_dead THEN 'dead' ELSE 'retrying' END AS outcome
FROM ended LEFT JOIN told ON true
ORDER BY lease_until
