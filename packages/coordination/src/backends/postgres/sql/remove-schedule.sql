-- Inputs: $1 queue, $2 name. Result: one row when there was such a schedule.
DELETE FROM :"schema".schedules WHERE queue = $1::text AND name = $2::text RETURNING name
