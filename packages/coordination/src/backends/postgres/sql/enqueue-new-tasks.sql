-- Adds tasks as enqueue-alike-tasks.sql does, whose ids cannot be there already, because they were just made.
-- Inputs: as there. Result: nothing.
-- Invariant: tasks of one call share their enqueueing instant and keep their order by seq.
WITH clock AS MATERIALIZED (SELECT clock_timestamp() AS now),
added AS (
  INSERT INTO :"schema".tasks (
    queue, id, type, payload, priority, run_at, enqueued_at, max_attempts, task_group, keep, backoff
  )
  SELECT $1::text, i.id, $4::text, i.payload, $5::smallint,
         c.now + $6::float8 * interval '1 millisecond', c.now, $7::int, $8::text, $9::boolean, $11::text::float8[]
  FROM clock c, ROWS FROM (unnest($2::text[]), string_to_table($3::text, E'\n')) AS i (id, payload)
)
SELECT pg_notify(:'channel', $10::text)
