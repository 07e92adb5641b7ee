-- Completes claims that their token holds.
-- Inputs: $1 queue; per claim, sorted by id: $2 id, $3 token, $4 result (JSON text) or null.
-- Result: n (1 …) of each claim that was completed; the others are stale and unchanged.
UPDATE :"schema".tasks t
SET state = 'completed', result = i.result::json, finished_at = clock_timestamp()
FROM unnest($2::text[], $3::bigint[], $4::text[]) WITH ORDINALITY AS i (id, token, result, n)
WHERE t.queue = $1::text AND t.id = i.id AND t.token = i.token AND t.state = 'claimed'
RETURNING i.n::int AS n
