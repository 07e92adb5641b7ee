-- Takes a lease when it is free, or finds the grant of the same request again.
-- Inputs: $1 name, $2 owner, $3 TTL in ms, $4 request id or null, $5 metadata as JSON text, $6 whether to tell of
--   the release of what is held.
-- Result: one row, granted true with the new token, or false with the holder; no row when another was granted
--   or the holder let go between our look and our write: ask again.
-- Invariant: the token is drawn after the row is locked, so tokens of a name grow in the order of its grants.
--   A held lease is only looked at, never waited for. Assigning the key column makes the row lock exclude
--   the key share locks of fenced transactions (assert-fence.sql), while renewals do not wait for those.
--   Who asked to be told and got "held" is told: the mark is set before the release, or the release comes first
--   and nothing is answered.
WITH held AS MATERIALIZED (
  SELECT owner, token, metadata::text AS metadata, awaited,
         :"schema".to_ms(expires_at) - :"schema".to_ms(clock_timestamp()) AS remaining_ms
  FROM :"schema".leases
  WHERE name = $1::text AND NOT released AND expires_at > clock_timestamp()
    AND NOT coalesce(request_id = $4::text, false)
),
marked AS (
  UPDATE :"schema".leases l SET awaited = true
  FROM held h
  WHERE $6::boolean AND NOT h.awaited AND l.name = $1::text AND l.token = h.token AND NOT l.released
  RETURNING l.token
),
granted AS (
  INSERT INTO :"schema".leases AS l (name, owner, token, expires_at, request_id, metadata)
  SELECT $1::text, $2::text, :"schema".next_token(),
         clock_timestamp() + $3::float8 * interval '1 millisecond', $4::text, $5::json
  WHERE NOT EXISTS (SELECT FROM held)
  ON CONFLICT (name) DO UPDATE SET
    name = excluded.name,
    owner = excluded.owner,
    token = CASE WHEN l.request_id = excluded.request_id THEN l.token ELSE :"schema".next_token() END,
    expires_at = clock_timestamp() + $3::float8 * interval '1 millisecond',
    released = false,
    awaited = CASE WHEN l.request_id = excluded.request_id THEN l.awaited ELSE false END,
    request_id = excluded.request_id,
    metadata = excluded.metadata
  WHERE l.released OR l.expires_at <= clock_timestamp() OR l.request_id = excluded.request_id
  RETURNING l.token
)
SELECT true AS granted, $2::text AS owner, token, NULL::text AS metadata, 0::float8 AS remaining_ms FROM granted
UNION ALL
SELECT false, owner, token, metadata, remaining_ms FROM held
WHERE NOT $6::boolean OR awaited OR EXISTS (SELECT FROM marked)
