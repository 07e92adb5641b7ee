-- Records how far claims have come.
-- Inputs: $1 queue; per claim, sorted by id: $2 id, $3 token, $4 progress (JSON text).
-- The input and the joined state: see complete-kept-tasks.sql.
-- Result: n (1 …) of each claim that its token holds.
UPDATE :"schema".tasks t
SET progress = i.progress::json
FROM (
  SELECT $1::text AS queue, u.*
  FROM unnest($2::text[], $3::bigint[], $4::text[]) WITH ORDINALITY AS u (id, token, progress, n)
  WHERE u.n BETWEEN 1 AND 1000000 AND u.n + 0 BETWEEN 1 AND 1000000
  OFFSET 0
) AS i
WHERE t.queue = i.queue AND t.id = i.id AND t.token = i.token AND t.state || '' = 'claimed'
RETURNING i.n::int AS n
