-- Forgets leases that ended long ago, so that names which are used once do not pile up.
-- Inputs: $1 age in ms. Result: none.
-- Invariant: a row that somebody is changing right now is not waited for: the next sweep finds it if it is still old.
DELETE FROM :"schema".leases
WHERE name IN (
  SELECT name FROM :"schema".leases
  WHERE expires_at < clock_timestamp() - $1::float8 * interval '1 millisecond'
  FOR UPDATE SKIP LOCKED)
