-- Deletes tasks that finished long ago, oldest first. To those that wait for one it has ended well.
-- Inputs: $1 queue, $2 states, $3 age in ms, $4 most tasks, $5 what to notify. Result: one row with the count.
-- An age of thousands of years is cut: the instant that long ago could not be told.
WITH old AS MATERIALIZED (
  SELECT id, has_dependents FROM :"schema".tasks
  WHERE queue = $1::text AND state = ANY ($2::text[])
    AND finished_at < (SELECT clock_timestamp() - least($3::float8, 1e14) * interval '1 millisecond')
  ORDER BY finished_at
  LIMIT $4::int
  FOR UPDATE SKIP LOCKED
),
gone AS (
  DELETE FROM :"schema".tasks t USING old o WHERE t.queue = $1::text AND t.id = o.id
  RETURNING t.id, t.has_dependents
),
released AS MATERIALIZED (
  SELECT :"schema".release_dependents($1::text, array_agg(id), true) AS count
  FROM gone WHERE has_dependents HAVING count(*) > 0
),
told AS MATERIALIZED (SELECT pg_notify(:'channel', $5::text) WHERE EXISTS (SELECT FROM released WHERE count > 0))
SELECT count(o.id)::int AS count FROM old o LEFT JOIN told ON true
