-- Locks streams against appends until the transaction ends, in the order of names.
-- Inputs: $1 streams. Result: the epoch of each that exists.
SELECT epoch FROM :"schema".streams WHERE name = ANY ($1::text[]) ORDER BY name FOR UPDATE
