-- Pauses or resumes a queue. A queue without limits that goes on needs no row, and has none.
-- Inputs: $1 queue, $2 whether it is paused, $3 what to notify.
WITH resumed AS (
  DELETE FROM :"schema".queue_settings
  WHERE queue = $1::text AND NOT $2::boolean
    AND coalesce(concurrency, rate_count, key_concurrency, key_rate_count) IS NULL
  RETURNING queue
),
changed AS (
  UPDATE :"schema".queue_settings SET paused = $2::boolean
  WHERE queue = $1::text AND ($2::boolean OR coalesce(concurrency, rate_count, key_concurrency, key_rate_count) IS NOT NULL)
  RETURNING queue
),
added AS (
  INSERT INTO :"schema".queue_settings (queue, paused) SELECT $1::text, true WHERE $2::boolean
  ON CONFLICT (queue) DO NOTHING
)
SELECT pg_notify(:'channel', $3::text)
