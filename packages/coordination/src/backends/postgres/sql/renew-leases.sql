-- Extends leases that their token still holds, expired or not.
-- Inputs: $1 names and $2 tokens, sorted by name; $3 TTL in ms.
-- Result: name and token of each lease that was renewed.
-- Invariant: a released or newly granted lease is never extended.
UPDATE :"schema".leases AS l
SET expires_at = clock_timestamp() + $3::float8 * interval '1 millisecond'
FROM unnest($1::text[], $2::bigint[]) AS i (name, token)
WHERE l.name = i.name AND l.token = i.token AND NOT l.released
RETURNING l.name, l.token
