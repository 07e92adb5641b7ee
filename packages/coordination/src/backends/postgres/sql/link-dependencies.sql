-- Notes what waiting tasks wait for.
-- Inputs: $1 queue; per pair, $2 the waiting task, $3 what it waits for, $4 whether any end will do.
-- Invariant: what is waited for is locked, in the order of ids, so that it cannot end unnoticed. What has ended
--   already, or is not known, is left out.
WITH pair AS MATERIALIZED (
  SELECT * FROM unnest($2::text[], $3::text[], $4::boolean[]) AS i (dependent, dependency, any_end)
),
locked AS MATERIALIZED (
  SELECT t.id, t.state FROM :"schema".tasks t
  WHERE t.queue = $1::text AND t.id = ANY ($3::text[])
  ORDER BY t.id
  FOR UPDATE
),
linked AS (
  INSERT INTO :"schema".task_dependencies (queue, dependency, dependent, any_end)
  SELECT $1::text, p.dependency, p.dependent, p.any_end
  FROM pair p JOIN locked l ON l.id = p.dependency
  WHERE l.state IN ('waiting', 'pending', 'claimed') OR (l.state <> 'completed' AND NOT p.any_end)
  RETURNING dependency
)
UPDATE :"schema".tasks t SET has_dependents = true
FROM (SELECT DISTINCT dependency FROM linked) d
WHERE t.queue = $1::text AND t.id = d.dependency AND NOT t.has_dependents
