-- Puts dead tasks back to pending with fresh attempts and their history.
-- Inputs: $1 queue, $2 ids, $3 what to notify. Result: n (1 …) of each task that was put back.
-- Invariant: a task whose dedupe key a live one has, or an earlier one of this call, stays dead.
WITH clock AS MATERIALIZED (SELECT clock_timestamp() AS now),
dead AS MATERIALIZED (
  SELECT t.id, t.dedupe_key, i.n
  FROM unnest($2::text[]) WITH ORDINALITY AS i (id, n)
  JOIN :"schema".tasks t ON t.queue = $1::text AND t.id = i.id AND t.state = 'dead'
  WHERE t.dedupe_key IS NULL OR NOT EXISTS (
    SELECT FROM :"schema".tasks other
    WHERE other.queue = t.queue AND other.dedupe_key = t.dedupe_key AND other.state IN ('waiting', 'pending', 'claimed'))
  ORDER BY t.id
  FOR UPDATE OF t
),
chosen AS MATERIALIZED (
  SELECT DISTINCT ON (coalesce('k' || dedupe_key, 'i' || id)) id, n FROM dead
  ORDER BY coalesce('k' || dedupe_key, 'i' || id), n
),
back AS (
  UPDATE :"schema".tasks t
  SET state = 'pending', attempt = 0, run_at = c.now, finished_at = NULL, worker = NULL
  FROM chosen d, clock c
  WHERE t.queue = $1::text AND t.id = d.id
  RETURNING d.n
),
told AS MATERIALIZED (SELECT pg_notify(:'channel', $3::text))
SELECT n::int AS n FROM back LEFT JOIN told ON true
