-- The schedules of a queue by name.
-- Inputs: $1 queue, $2 name or null for all, $3 most rows, or null for all.
-- Result: spec (JSON text), next tick in ms or null, and the instant of asking in ms.
SELECT spec::text AS spec, :"schema".to_ms(next_at) AS next_ms, :"schema".to_ms(clock_timestamp()) AS now_ms
FROM :"schema".schedules WHERE queue = $1::text AND ($2::text IS NULL OR name = $2::text)
ORDER BY name LIMIT $3::int
