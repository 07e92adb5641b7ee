-- Ends a lease that its token holds, expired or not, and tells those who wait for that.
-- Inputs: $1 name, $2 token, $3 what to notify. Result: one row when it was ended.
-- Invariant: the row stays, so that the next grant draws its token under the row's lock; the request id goes,
--   so that the released grant is not found again.
WITH ended AS (
  UPDATE :"schema".leases
  SET released = true, expires_at = clock_timestamp(), request_id = NULL
  WHERE name = $1::text AND token = $2::bigint AND NOT released
  RETURNING name, awaited
),
told AS MATERIALIZED (SELECT pg_notify(:'channel', $3::text) FROM ended WHERE awaited)
SELECT e.name FROM ended e LEFT JOIN told ON true
