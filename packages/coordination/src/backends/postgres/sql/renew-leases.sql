-- Extends leases that their token still holds, expired or not.
-- Inputs: $1 names and $2 tokens; $3 TTL in ms.
-- Result: name and token of each lease that was renewed.
-- Invariant: a released or newly granted lease is never extended. Rows are locked in the order of names, as everywhere
--   where several leases are changed (await-leases.sql, revoke-leases.sql): no two calls wait for each other.
WITH held AS MATERIALIZED (
  SELECT l.name
  FROM unnest($1::text[], $2::bigint[]) AS i (name, token)
  JOIN :"schema".leases l ON l.name = i.name AND l.token = i.token AND NOT l.released
  ORDER BY l.name
  FOR NO KEY UPDATE OF l
)
UPDATE :"schema".leases AS l
SET expires_at = clock_timestamp() + $3::float8 * interval '1 millisecond'
FROM held h
WHERE l.name = h.name
RETURNING l.name, l.token
