-- Whether a queue is paused, and its limits. Inputs: $1 queue. Result: one row, or none.
SELECT paused, concurrency, rate_count, rate_per_ms, key_concurrency, key_rate_count, key_rate_per_ms
FROM :"schema".queue_settings WHERE queue = $1::text
