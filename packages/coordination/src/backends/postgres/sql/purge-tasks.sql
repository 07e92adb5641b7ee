-- Deletes tasks that finished long ago, oldest first.
-- Inputs: $1 queue, $2 states, $3 age in ms, $4 most tasks. Result: one row with the count.
WITH old AS MATERIALIZED (
  SELECT id FROM :"schema".tasks
  WHERE queue = $1::text AND state = ANY ($2::text[])
    AND finished_at < (SELECT clock_timestamp() - $3::float8 * interval '1 millisecond')
  ORDER BY finished_at
  LIMIT $4::int
  FOR UPDATE SKIP LOCKED
),
gone AS (
  DELETE FROM :"schema".tasks t USING old o WHERE t.queue = $1::text AND t.id = o.id
)
SELECT count(*)::int AS count FROM old
