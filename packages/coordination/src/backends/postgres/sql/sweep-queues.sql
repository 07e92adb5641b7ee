-- Forgets dedupe windows that are over, limits that are full again, and links to tasks that are gone.
-- Inputs: none.
WITH windows AS (DELETE FROM :"schema".dedupe_windows WHERE ends_at < clock_timestamp()),
keys AS (
  DELETE FROM :"schema".limit_keys k USING :"schema".queue_settings s
  WHERE s.queue = k.queue AND (s.key_rate_count IS NULL OR
    :"schema".refilled(k.tokens, k.tokens_at, s.key_rate_count, s.key_rate_per_ms, clock_timestamp()) >= s.key_rate_count)
)
DELETE FROM :"schema".task_dependencies d
WHERE NOT EXISTS (SELECT FROM :"schema".tasks t WHERE t.queue = d.queue AND t.id = d.dependent AND t.state = 'waiting')
