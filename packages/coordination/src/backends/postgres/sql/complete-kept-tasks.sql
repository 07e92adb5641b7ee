-- Completes claims that their token holds, of tasks that are kept.
-- Inputs: $1 queue; per claim, sorted by id: $2 id, $3 token, $4 result (JSON text) or null; $5 what to notify.
-- Result: n (1 …) of each claim that was completed; the others are unchanged.
-- The input keeps the planner to looking each task up by its key, also where it still believes the table to be empty:
--   the ranges over n hold always, but make it look small; the queue is a column of it, and OFFSET 0 hides where that
--   comes from, or the planner might as well walk all tasks of the queue and look for each in the input. The joined
--   state keeps it from the index of claimed tasks.
WITH ended AS (
  UPDATE :"schema".tasks t
  SET state = 'completed', result = i.result::json, finished_at = clock_timestamp()
  FROM (
    SELECT $1::text AS queue, u.*
    FROM unnest($2::text[], $3::bigint[], $4::text[]) WITH ORDINALITY AS u (id, token, result, n)
    WHERE u.n BETWEEN 1 AND 1000000 AND u.n + 0 BETWEEN 1 AND 1000000
    OFFSET 0
  ) AS i
  WHERE t.queue = i.queue AND t.id = i.id AND t.token = i.token AND t.state || '' = 'claimed' AND t.keep
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
