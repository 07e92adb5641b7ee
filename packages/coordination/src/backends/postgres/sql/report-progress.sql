-- Records how far claims have come.
-- Inputs: $1 queue; per claim, sorted by id: $2 id, $3 token, $4 progress (JSON text).
-- The ranges over i.n and the joined state: see complete-kept-tasks.sql.
-- Result: n (1 …) of each claim that its token holds.
UPDATE :"schema".tasks t
SET progress = i.progress::json
FROM unnest($2::text[], $3::bigint[], $4::text[]) WITH ORDINALITY AS i (id, token, progress, n)
WHERE t.queue = $1::text AND t.id = i.id AND t.token = i.token AND t.state || '' = 'claimed'
  AND i.n BETWEEN 1 AND 1000000 AND i.n + 0 BETWEEN 1 AND 1000000
RETURNING i.n::int AS n
