-- Cancels the unfinished tasks of groups.
-- Inputs: $1 queue, $2 groups. Result: one row with the count.
-- Invariant: the token stays, so that a running claim can be told of it when it renews.
WITH live AS MATERIALIZED (
  SELECT id FROM :"schema".tasks
  WHERE queue = $1::text AND task_group = ANY ($2::text[]) AND state IN ('pending', 'claimed')
  ORDER BY id
  FOR UPDATE
),
cancelled AS (
  UPDATE :"schema".tasks t SET state = 'cancelled', finished_at = clock_timestamp()
  FROM live l WHERE t.queue = $1::text AND t.id = l.id
)
SELECT count(*)::int AS count FROM live
