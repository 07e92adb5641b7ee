-- Deletes streams with their entries.
-- Inputs: $1 epochs, locked before by lock-streams.sql in the same transaction, so that this statement sees
--   every entry; $2 what to notify. Result: none that matters.
-- Invariant: an epoch is never used again, so what was read from a deleted stream is never continued.
WITH gone AS (
  DELETE FROM :"schema".streams WHERE epoch = ANY ($1::bigint[]) RETURNING epoch
),
forgotten AS (
  DELETE FROM :"schema".entries e USING gone g WHERE e.epoch = g.epoch
)
SELECT pg_notify(:'channel', $2::text)
