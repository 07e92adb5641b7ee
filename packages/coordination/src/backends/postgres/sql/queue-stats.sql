-- Counts the tasks of a queue by state, as of one instant.
-- Inputs: $1 queue. Result: one row.
SELECT * FROM :"schema".queue_stats($1::text)
