-- Replaces the limits of a queue, with all of its rates unspent. What neither is limited nor paused has no row.
-- Inputs: $1 queue, $2 concurrency, $3 rate, $4 its time in ms, $5 to $7 the same for each key; nulls are no limits;
--   $8 what to notify.
WITH forgotten AS (DELETE FROM :"schema".limit_keys WHERE queue = $1::text),
lifted AS (
  DELETE FROM :"schema".queue_settings
  WHERE queue = $1::text AND NOT paused AND coalesce($2::int, $3::int, $5::int, $6::int) IS NULL
),
changed AS (
  UPDATE :"schema".queue_settings
  SET concurrency = $2::int, rate_count = $3::int, rate_per_ms = $4::float8, key_concurrency = $5::int,
      key_rate_count = $6::int, key_rate_per_ms = $7::float8, tokens = NULL, tokens_at = NULL
  WHERE queue = $1::text AND (paused OR coalesce($2::int, $3::int, $5::int, $6::int) IS NOT NULL)
),
added AS (
  INSERT INTO :"schema".queue_settings (
    queue, concurrency, rate_count, rate_per_ms, key_concurrency, key_rate_count, key_rate_per_ms)
  SELECT $1::text, $2::int, $3::int, $4::float8, $5::int, $6::int, $7::float8
  WHERE coalesce($2::int, $3::int, $5::int, $6::int) IS NOT NULL
  ON CONFLICT (queue) DO NOTHING
)
SELECT pg_notify(:'channel', $8::text)
