-- Forgets the entries of a stream up to an offset.
-- Inputs: $1 stream, $2 offset, $3 what to notify. Result: one row when something was forgotten.
-- Invariant: trimmed_to never falls and never passes the head.
WITH trimmed AS (
  UPDATE :"schema".streams SET trimmed_to = least($2::bigint, head)
  WHERE name = $1::text AND trimmed_to < least($2::bigint, head)
  RETURNING epoch, trimmed_to
),
forgotten AS (
  DELETE FROM :"schema".entries e USING trimmed t
  WHERE e.epoch = t.epoch AND e.entry_offset <= t.trimmed_to
),
told AS MATERIALIZED (SELECT pg_notify(:'channel', $3::text))
SELECT t.epoch FROM trimmed t LEFT JOIN told ON true
