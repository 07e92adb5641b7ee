-- Deletes all tasks of groups, whatever their state.
-- Inputs: $1 queue, $2 groups. Result: one row with the count.
WITH doomed AS MATERIALIZED (
  SELECT id FROM :"schema".tasks
  WHERE queue = $1::text AND task_group = ANY ($2::text[])
  ORDER BY id
  FOR UPDATE
),
gone AS (
  DELETE FROM :"schema".tasks t USING doomed d WHERE t.queue = $1::text AND t.id = d.id
)
SELECT count(*)::int AS count FROM doomed
