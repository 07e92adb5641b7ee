-- Adds tasks that have everything but id and payload in common, and nothing out of the ordinary: the fast way.
-- Inputs: $1 queue; per task $2 id, $3 payload (JSON texts, one a line); for all of them $4 type, $5 priority, $6 delay in ms,
--   $7 most attempts, $8 group or null, $9 whether completed ones are kept; $10 what to notify,
--   $11 backoff (text of an array) or null.
-- Result: id of each task that was added; the others were there already.
-- Invariant: tasks of one call share their enqueueing instant and keep their order by seq.
WITH clock AS MATERIALIZED (SELECT clock_timestamp() AS now),
added AS (
  INSERT INTO :"schema".tasks (
    queue, id, type, payload, priority, run_at, enqueued_at, max_attempts, task_group, keep, backoff
  )
  SELECT $1::text, i.id, $4::text, i.payload, $5::smallint,
         c.now + $6::float8 * interval '1 millisecond', c.now, $7::int, $8::text, $9::boolean, $11::text::float8[]
  FROM clock c, ROWS FROM (unnest($2::text[]), string_to_table($3::text, E'\n')) WITH ORDINALITY AS i (id, payload, n)
  ORDER BY i.n
  ON CONFLICT DO NOTHING
  RETURNING id
),
told AS MATERIALIZED (SELECT pg_notify(:'channel', $10::text))
SELECT a.id FROM added a LEFT JOIN told ON true
