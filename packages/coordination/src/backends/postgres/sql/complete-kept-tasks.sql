-- Completes claims that their token holds, of tasks that are kept.
-- Inputs: $1 queue; per claim, sorted by id: $2 id, $3 token, $4 result (JSON text) or null; $5 what to notify.
-- Result: n (1 …) of each claim that was completed; the others are unchanged.
-- The ranges over i.n hold always. They and the joined state hold the planner to looking each task up by its key, also
--   where it still believes the table to be empty.
WITH ended AS (
  UPDATE :"schema".tasks t
  SET state = 'completed', result = i.result::json, finished_at = clock_timestamp()
  FROM unnest($2::text[], $3::bigint[], $4::text[]) WITH ORDINALITY AS i (id, token, result, n)
  WHERE t.queue = $1::text AND t.id = i.id AND t.token = i.token AND t.state || '' = 'claimed' AND t.keep
    AND i.n BETWEEN 1 AND 1000000 AND i.n + 0 BETWEEN 1 AND 1000000
  RETURNING i.n, t.id, t.has_dependents
),
released AS MATERIALIZED (
  SELECT :"schema".release_dependents($1::text, array_agg(id), true) AS count
  FROM ended WHERE has_dependents HAVING count(*) > 0
),
told AS MATERIALIZED (
  SELECT pg_notify(:'channel', $5::text)
  WHERE EXISTS (SELECT FROM released WHERE count > 0)
    OR EXISTS (SELECT FROM :"schema".queue_settings s WHERE s.queue = $1::text)
)
SELECT n::int AS n FROM ended LEFT JOIN told ON true
