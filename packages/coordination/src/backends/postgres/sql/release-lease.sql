-- Ends a lease that its token holds.
-- Inputs: $1 name, $2 token. Result: one row when it was held.
-- Invariant: the row stays, so that the next grant draws its token under the row's lock; the request id goes,
--   so that the released grant is not found again.
UPDATE :"schema".leases
SET released = true, expires_at = clock_timestamp(), request_id = NULL
WHERE name = $1::text AND token = $2::bigint AND NOT released AND expires_at > clock_timestamp()
RETURNING name
