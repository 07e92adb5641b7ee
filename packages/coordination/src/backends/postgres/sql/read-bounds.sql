-- Where streams start and end now.
-- Inputs: $1 streams. Result: one row per stream that exists.
SELECT name, epoch, head, trimmed_to FROM :"schema".streams WHERE name = ANY ($1::text[])
