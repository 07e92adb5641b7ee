-- Takes a tick of a schedule.
-- Inputs: $1 queue, $2 name, $3 the tick in ms, $4 the next one in ms or null. Result: one row when it was there to take.
UPDATE :"schema".schedules SET next_at = to_timestamp($4::float8 / 1000)
WHERE queue = $1::text AND name = $2::text AND round(:"schema".to_ms(next_at)) = $3::float8
RETURNING name
