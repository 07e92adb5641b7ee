-- Extends claims that their token still holds, lapsed or not.
-- Inputs: $1 queue, $2 ids and $3 tokens, sorted by id, $4 lease in ms.
-- The input and the joined state: see complete-kept-tasks.sql.
-- Result: n (1 …) and the outcome of each claim that was renewed or cancelled; the others are lost.
WITH input AS MATERIALIZED (
  SELECT $1::text AS queue, u.*
  FROM unnest($2::text[], $3::bigint[]) WITH ORDINALITY AS u (id, token, n)
  WHERE u.n BETWEEN 1 AND 1000000 AND u.n + 0 BETWEEN 1 AND 1000000
),
renewed AS (
  UPDATE :"schema".tasks t
  SET lease_until = clock_timestamp() + $4::float8 * interval '1 millisecond'
  FROM input i
  WHERE t.queue = i.queue AND t.id = i.id AND t.token = i.token AND t.state || '' = 'claimed'
  RETURNING i.n
)
SELECT n::int AS n, 'renewed' AS outcome FROM renewed
UNION ALL
SELECT i.n::int, 'cancelled'
FROM input i JOIN :"schema".tasks t ON t.queue = i.queue AND t.id = i.id AND t.token = i.token
WHERE t.state = 'cancelled'
