-- Adds or replaces a schedule.
-- Inputs: $1 queue, $2 name, $3 spec (JSON text), $4 next tick in ms or null, $5 whether a next tick that is there stays.
-- Result: the next tick in ms.
INSERT INTO :"schema".schedules AS s (queue, name, spec, next_at)
VALUES ($1::text, $2::text, $3::json, to_timestamp($4::float8 / 1000))
ON CONFLICT (queue, name) DO UPDATE
SET spec = excluded.spec, next_at = CASE WHEN $5::boolean THEN s.next_at ELSE excluded.next_at END
RETURNING :"schema".to_ms(next_at) AS next_ms
