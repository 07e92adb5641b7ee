-- Proves that a token is the newest grant of its name and unexpired, until the transaction ends.
-- Inputs: $1 name, $2 token. Result: one row when it is.
-- Invariant: the key share lock keeps out a competing grant (grant-lease.sql) but lets the holder renew, and
--   several fenced transactions of one holder run side by side.
SELECT 1 AS held
FROM :"schema".leases
WHERE name = $1::text AND token = $2::bigint AND NOT released AND expires_at > clock_timestamp()
FOR KEY SHARE
