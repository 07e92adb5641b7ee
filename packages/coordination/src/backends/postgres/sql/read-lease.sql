-- The unexpired lease of a name.
-- Inputs: $1 name. Result: the lease, or no row.
SELECT name, owner, token, metadata::text AS metadata,
       :"schema".to_ms(expires_at) - :"schema".to_ms(clock_timestamp()) AS remaining_ms
FROM :"schema".leases
WHERE name = $1::text AND NOT released AND expires_at > clock_timestamp()
