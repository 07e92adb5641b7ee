-- How long until a pending task is due or a claim lapses.
-- Inputs: $1 queue. Result: one row with milliseconds (below 0: it is), or null when there is neither.
WITH clock AS MATERIALIZED (SELECT clock_timestamp() AS now)
SELECT :"schema".to_ms(least(
    (SELECT min(first.run_at)
     FROM (VALUES (3::smallint), (2::smallint), (1::smallint), (0::smallint)) AS p (priority)
     CROSS JOIN LATERAL (
       SELECT t.run_at FROM :"schema".tasks t
       WHERE t.queue = $1::text AND t.state = 'pending' AND t.priority = p.priority
       ORDER BY t.run_at, t.seq LIMIT 1
     ) first),
    (SELECT min(t.lease_until) FROM :"schema".tasks t WHERE t.queue = $1::text AND t.state = 'claimed')
  )) - :"schema".to_ms((SELECT now FROM clock)) AS due_in_ms
