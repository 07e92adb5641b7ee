-- Tasks by id, group or state.
-- Inputs: $1 queue, $2 id or null, $3 group or null, $4 states or null, $5 id to go on after or null, $6 most rows.
-- Result: the tasks, ordered by id.
SELECT id, type, state, payload, task_group, attempt, max_attempts, result::text AS result,
       to_json(failures)::text AS failures, worker, progress::text AS progress,
       :"schema".to_ms(enqueued_at) AS enqueued_at, :"schema".to_ms(finished_at) AS finished_at
FROM :"schema".tasks
WHERE queue = $1::text
  AND ($2::text IS NULL OR id = $2::text)
  AND ($3::text IS NULL OR task_group = $3::text)
  AND ($4::text[] IS NULL OR state = ANY ($4::text[]))
  AND ($5::text IS NULL OR id > $5::text)
ORDER BY id
LIMIT $6::int
