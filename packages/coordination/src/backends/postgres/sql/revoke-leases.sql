-- Ends every lease, also those that expired but could still be renewed, and wakes whoever waits.
-- Inputs: none. Result: one row with the count of those that were unexpired.
WITH before AS MATERIALIZED (
  SELECT name, expires_at > clock_timestamp() AS was_held
  FROM :"schema".leases WHERE NOT released ORDER BY name FOR NO KEY UPDATE
),
ended AS (
  UPDATE :"schema".leases AS l
  SET released = true, expires_at = least(l.expires_at, clock_timestamp()), request_id = NULL
  FROM before b WHERE l.name = b.name
),
told AS MATERIALIZED (SELECT pg_notify(:'channel', ''))
SELECT count(*) FILTER (WHERE b.was_held)::int AS count FROM told LEFT JOIN before b ON true
