-- Takes due tasks of a queue that has settings.
-- Inputs: $1 queue, $2 most tasks, $3 types or null for all, $4 worker, $5 lease in ms, $6 priorities.
-- Result: the claimed tasks in claim order; one row with a null id when the queue has no settings.
SELECT id, type, payload, task_group, token, attempt, max_attempts, enqueued_ms, timeout_ms, keep
FROM :"schema".claim_limited($1::text, $2::int, $3::text[], $4::text, $5::float8, $6::smallint[])
