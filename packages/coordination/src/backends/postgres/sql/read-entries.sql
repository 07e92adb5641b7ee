-- Reads a stream on from an offset, with its bounds, as of one instant.
-- Inputs: $1 stream, $2 offset to go on after, $3 most entries.
-- Result: no row for an unknown stream; else one row per entry in order, or one row with a null offset.
--   Whether the position may be continued from at all is for the caller to see from epoch, head and trimmed_to.
SELECT s.epoch, s.head, s.trimmed_to, e.entry_offset, e.payload::text AS payload,
       :"schema".to_ms(e.appended_at) AS appended_at
FROM :"schema".streams s
LEFT JOIN LATERAL (
  SELECT entry_offset, payload, appended_at
  FROM :"schema".entries
  WHERE epoch = s.epoch AND entry_offset > greatest($2::bigint, s.trimmed_to)
  ORDER BY entry_offset
  LIMIT $3::int
) e ON true
WHERE s.name = $1::text
ORDER BY e.entry_offset
