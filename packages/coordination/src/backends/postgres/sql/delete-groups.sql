-- Deletes all tasks of groups, whatever their state. To those that wait for them they have ended well.
-- Inputs: $1 queue, $2 groups, $3 what to notify. Result: one row with the count.
WITH doomed AS MATERIALIZED (
  SELECT id, has_dependents, waits_for FROM :"schema".tasks
  WHERE queue = $1::text AND task_group = ANY ($2::text[])
  ORDER BY id
  FOR UPDATE
),
gone AS (
  DELETE FROM :"schema".tasks t USING doomed d WHERE t.queue = $1::text AND t.id = d.id
  RETURNING t.id, t.has_dependents
),
unlinked AS (
  DELETE FROM :"schema".task_dependencies e USING doomed d
  WHERE d.waits_for > 0 AND e.queue = $1::text AND e.dependent = d.id
),
released AS MATERIALIZED (
  SELECT :"schema".release_dependents($1::text, array_agg(id), true)
  FROM gone WHERE has_dependents HAVING count(*) > 0
),
told AS MATERIALIZED (
  SELECT pg_notify(:'channel', $3::text)
  WHERE EXISTS (SELECT FROM released)
    OR EXISTS (SELECT FROM :"schema".queue_settings s WHERE s.queue = $1::text) AND EXISTS (SELECT FROM doomed)
)
SELECT count(d.id)::int AS count FROM doomed d LEFT JOIN told ON true
