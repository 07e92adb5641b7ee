-- Forgets leases that ended long ago, so that names which are used once do not pile up.
-- Inputs: $1 age in ms. Result: none.
DELETE FROM :"schema".leases WHERE expires_at < clock_timestamp() - $1::float8 * interval '1 millisecond'
