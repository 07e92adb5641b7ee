-- Reads values of a namespace with its head, as of one instant.
-- Inputs: $1 stream, $2 keys or null for all, $3 most values.
-- Result: no row for a namespace that was never written; else one row per value, or one row with a null key.
SELECT t.epoch, t.head, s.key, s.revision, s.value, s.metadata, s.remaining_ms
FROM :"schema".streams t
LEFT JOIN LATERAL (
  SELECT key, revision, value::text AS value, metadata::text AS metadata,
         :"schema".to_ms(expires_at) - :"schema".to_ms(clock_timestamp()) AS remaining_ms
  FROM :"schema".states
  WHERE epoch = t.epoch AND (expires_at IS NULL OR expires_at > clock_timestamp())
    AND ($2::text[] IS NULL OR key = ANY ($2::text[]))
  LIMIT $3::int
) s ON true
WHERE t.name = $1::text
