-- Unexpired leases by prefix, each marked so that its release is told.
-- Inputs: $1 prefix, $2 most rows. Result: the leases, ordered by name.
WITH marked AS (
  UPDATE :"schema".leases SET awaited = true
  WHERE name IN (
    SELECT name FROM :"schema".leases
    WHERE name ^@ $1::text AND NOT released AND expires_at > clock_timestamp()
    ORDER BY name LIMIT $2::int FOR NO KEY UPDATE)
    AND NOT released
  RETURNING name, owner, token, metadata::text AS metadata,
            :"schema".to_ms(expires_at) - :"schema".to_ms(clock_timestamp()) AS remaining_ms
)
SELECT name, owner, token, metadata, remaining_ms FROM marked WHERE remaining_ms > 0 ORDER BY name
