-- Adds tasks, leaving out those whose id or dedupe key is there already.
-- Inputs: $1 queue; per task $2 id, $3 type, $4 payload (JSON texts, one a line), $5 priority, $6 delay in ms, $7 most attempts,
--   $8 backoff (text of an array) or null, $9 group, $10 dedupe key, $11 how long that counts in ms or null,
--   $12 limit key, $13 how many tasks it waits for or null, $14 timeout in ms, $15 kept when completed;
--   $16 what to notify.
-- Result: id of each task that was added.
-- Invariant: tasks of one call share their enqueueing instant and keep their order by seq.
WITH clock AS MATERIALIZED (SELECT clock_timestamp() AS now),
input AS MATERIALIZED (
  SELECT * FROM ROWS FROM (
    string_to_table($4::text, E'\n'),
    unnest(
      $2::text[], $3::text[], $5::smallint[], $6::float8[], $7::int[], $8::text[], $9::text[], $10::text[],
      $11::float8[], $12::text[], $13::int[], $14::float8[], $15::boolean[])
  ) WITH ORDINALITY AS i (
    payload, id, type, priority, delay_ms, max_attempts, backoff, task_group, dedupe_key,
    window_ms, limit_key, waits_for, timeout_ms, keep, n
  )
),
added AS (
  INSERT INTO :"schema".tasks (
    queue, id, type, payload, priority, run_at, enqueued_at, max_attempts,
    backoff, task_group, dedupe_key, limit_key, waits_for, state, timeout_ms, keep
  )
  SELECT $1::text, i.id, i.type, i.payload, i.priority,
         c.now + i.delay_ms * interval '1 millisecond', c.now, i.max_attempts,
         i.backoff::float8[], i.task_group, i.dedupe_key, i.limit_key, i.waits_for,
         CASE WHEN i.waits_for IS NULL THEN 'pending' ELSE 'waiting' END, i.timeout_ms, i.keep
  FROM clock c, input i
  WHERE i.dedupe_key IS NULL OR NOT EXISTS (
    SELECT FROM :"schema".dedupe_windows w
    WHERE w.queue = $1::text AND w.dedupe_key = i.dedupe_key AND w.ends_at > c.now)
  ORDER BY i.n
  ON CONFLICT DO NOTHING
  RETURNING id, dedupe_key
),
opened AS (
  INSERT INTO :"schema".dedupe_windows AS w (queue, dedupe_key, task_id, ends_at)
  SELECT $1::text, i.dedupe_key, i.id, c.now + i.window_ms * interval '1 millisecond'
  FROM clock c, (
    -- A task that was given twice in one call was added once, as it was given first.
    SELECT DISTINCT ON (g.dedupe_key) g.dedupe_key, g.id, g.window_ms
    FROM input g JOIN added a ON a.id = g.id AND a.dedupe_key = g.dedupe_key
    ORDER BY g.dedupe_key, g.n
  ) i
  WHERE i.window_ms IS NOT NULL
  ON CONFLICT (queue, dedupe_key) DO UPDATE SET task_id = excluded.task_id, ends_at = excluded.ends_at
),
told AS MATERIALIZED (SELECT pg_notify(:'channel', $16::text))
SELECT a.id FROM added a LEFT JOIN told ON true
