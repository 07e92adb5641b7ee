-- Completes claims that their token holds, of tasks that are not kept: deletes them.
-- Inputs: $1 queue; per claim, sorted by id: $2 id, $3 token; $4 what to notify.
-- Result: n (1 …) of each claim that was completed; the others are unchanged.
-- The input and the joined state: see complete-kept-tasks.sql.
WITH ended AS (
  DELETE FROM :"schema".tasks t
  USING (
    SELECT $1::text AS queue, u.*
    FROM unnest($2::text[], $3::bigint[]) WITH ORDINALITY AS u (id, token, n)
    WHERE u.n BETWEEN 1 AND 1000000 AND u.n + 0 BETWEEN 1 AND 1000000
    OFFSET 0
  ) AS i
  WHERE t.queue = i.queue AND t.id = i.id AND t.token = i.token AND t.state || '' = 'claimed' AND NOT t.keep
  RETURNING i.n, t.id, t.has_dependents
),
released AS MATERIALIZED (
  SELECT :"schema".release_dependents($1::text, array_agg(id), true) AS count
  FROM ended WHERE has_dependents HAVING count(*) > 0
),
told AS MATERIALIZED (
  SELECT pg_notify(:'channel', $4::text)
  WHERE EXISTS (SELECT FROM released WHERE count > 0)
    OR EXISTS (SELECT FROM :"schema".queue_settings s WHERE s.queue = $1::text)
)
SELECT n::int AS n FROM ended LEFT JOIN told ON true
