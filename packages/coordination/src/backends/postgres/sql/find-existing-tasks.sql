-- Who was in the way of an enqueued task: the task with its id, else the one that has its dedupe key.
-- Inputs: $1 queue, $2 ids, $3 dedupe keys (null where there is none).
-- Result: n (1 …) and the id found, or a null id when it is gone by now.
SELECT i.n::int AS n, coalesce(
  (SELECT t.id FROM :"schema".tasks t WHERE t.queue = $1::text AND t.id = i.id),
  (SELECT t.id FROM :"schema".tasks t
   WHERE t.queue = $1::text AND t.dedupe_key = i.dedupe_key AND t.state IN ('waiting', 'pending', 'claimed')),
  (SELECT w.task_id FROM :"schema".dedupe_windows w
   WHERE w.queue = $1::text AND w.dedupe_key = i.dedupe_key AND w.ends_at > clock_timestamp())
) AS id
FROM unnest($2::text[], $3::text[]) WITH ORDINALITY AS i (id, dedupe_key, n)
