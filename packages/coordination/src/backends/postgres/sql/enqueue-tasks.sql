-- Adds tasks, leaving out those whose id or live dedupe key is there already.
-- Inputs: $1 queue; per task $2 id, $3 type, $4 payload (JSON text), $5 priority, $6 delay in ms,
--   $7 most attempts, $8 backoff base, $9 factor, $10 cap, $11 group, $12 dedupe key; $13 what to notify.
-- Result: n (1 …) and id of each task that was added.
-- Invariant: tasks of one call share their enqueueing instant and keep their order by seq.
WITH clock AS MATERIALIZED (SELECT clock_timestamp() AS now),
added AS (
  INSERT INTO :"schema".tasks (
    queue, id, type, payload, priority, run_at, enqueued_at, max_attempts,
    backoff_base_ms, backoff_factor, backoff_cap_ms, task_group, dedupe_key
  )
  SELECT $1::text, i.id, i.type, i.payload::json, i.priority,
         c.now + i.delay_ms * interval '1 millisecond', c.now, i.max_attempts,
         i.base_ms, i.factor, i.cap_ms, i.task_group, i.dedupe_key
  FROM clock c, unnest(
    $2::text[], $3::text[], $4::text[], $5::smallint[], $6::float8[], $7::int[],
    $8::float8[], $9::float8[], $10::float8[], $11::text[], $12::text[]
  ) WITH ORDINALITY AS i (
    id, type, payload, priority, delay_ms, max_attempts, base_ms, factor, cap_ms, task_group, dedupe_key, n
  )
  ORDER BY i.n
  ON CONFLICT DO NOTHING
  RETURNING id
),
told AS MATERIALIZED (SELECT pg_notify(:'channel', $13::text))
SELECT a.id FROM added a LEFT JOIN told ON true
