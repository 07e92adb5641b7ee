-- Settles for how many tasks new tasks wait, once link-dependencies.sql has noted it; none makes them pending.
-- Inputs: $1 queue, $2 ids.
UPDATE :"schema".tasks t
SET waits_for = l.count, state = CASE WHEN l.count = 0 THEN 'pending' ELSE 'waiting' END
FROM (
  SELECT i.id, (SELECT count(*)::int FROM :"schema".task_dependencies d WHERE d.queue = $1::text AND d.dependent = i.id) AS count
  FROM unnest($2::text[]) AS i (id)
) l
WHERE t.queue = $1::text AND t.id = l.id
