-- Unexpired leases by prefix.
-- Inputs: $1 prefix, $2 most rows. Result: the leases, ordered by name.
SELECT name, owner, token, metadata::text AS metadata,
       :"schema".to_ms(expires_at) - :"schema".to_ms(clock_timestamp()) AS remaining_ms
FROM :"schema".leases
WHERE name ^@ $1::text AND NOT released AND expires_at > clock_timestamp()
ORDER BY name
LIMIT $2::int
