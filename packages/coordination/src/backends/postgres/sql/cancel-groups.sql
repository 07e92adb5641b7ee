-- Cancels the unfinished tasks of groups.
-- Inputs: $1 queue, $2 groups, $3 what to notify. Result: one row with the count.
-- Invariant: the token stays, so that a running claim can be told of it when it renews.
WITH live AS MATERIALIZED (
  SELECT id, has_dependents, waits_for FROM :"schema".tasks
  WHERE queue = $1::text AND task_group = ANY ($2::text[]) AND state IN ('waiting', 'pending', 'claimed')
  ORDER BY id
  FOR UPDATE
),
cancelled AS (
  UPDATE :"schema".tasks t SET state = 'cancelled', finished_at = clock_timestamp()
  FROM live l WHERE t.queue = $1::text AND t.id = l.id
  RETURNING t.id, t.has_dependents
),
unlinked AS (
  DELETE FROM :"schema".task_dependencies e USING live l
  WHERE l.waits_for > 0 AND e.queue = $1::text AND e.dependent = l.id
),
released AS MATERIALIZED (
  SELECT :"schema".release_dependents($1::text, array_agg(id), false)
  FROM cancelled WHERE has_dependents HAVING count(*) > 0
),
told AS MATERIALIZED (
  SELECT pg_notify(:'channel', $3::text)
  WHERE EXISTS (SELECT FROM released)
    OR EXISTS (SELECT FROM :"schema".queue_settings s WHERE s.queue = $1::text) AND EXISTS (SELECT FROM live)
)
SELECT count(l.id)::int AS count FROM live l LEFT JOIN told ON true
