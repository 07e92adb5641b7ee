-- How long until a pending task may be claimed or a claim lapses.
-- Inputs: $1 queue, $2 to $9 after which pending tasks are looked at, as in claim-tasks.sql, $10 and $11 how many ms
--   before and after now leases are looked at that end, or nulls. Result: one row with milliseconds (below 0: it is), or null when there is neither.
WITH clock AS MATERIALIZED (SELECT clock_timestamp() AS now),
gate AS MATERIALIZED (
  SELECT s.paused
         OR s.concurrency <= (SELECT count(*) FROM (SELECT FROM :"schema".tasks t
              WHERE t.queue = $1::text AND t.state = 'claimed' LIMIT s.concurrency) held) AS is_shut,
         CASE WHEN s.rate_count IS NOT NULL THEN :"schema".to_ms(c.now) + s.rate_per_ms / s.rate_count * greatest(0,
           1 - :"schema".refilled(s.tokens, s.tokens_at, s.rate_count, s.rate_per_ms, c.now)) END AS opens_ms
  FROM clock c, :"schema".queue_settings s WHERE s.queue = $1::text
),
pending AS MATERIALIZED (
  SELECT :"schema".to_ms(min(first.run_at)) AS due_ms
  FROM (VALUES (3::smallint, $2::float8, $3::bigint), (2::smallint, $4::float8, $5::bigint),
               (1::smallint, $6::float8, $7::bigint), (0::smallint, $8::float8, $9::bigint))
    AS p (priority, after_us, after_seq)
  CROSS JOIN LATERAL (
    SELECT t.run_at FROM :"schema".tasks t
    WHERE t.queue = $1::text AND t.state = 'pending' AND t.priority = p.priority
      AND (t.run_at, t.seq) > (coalesce(to_timestamp(p.after_us / 1000000), '-infinity'), coalesce(p.after_seq, 0))
    ORDER BY t.run_at, t.seq LIMIT 1
  ) first
  WHERE NOT EXISTS (SELECT FROM gate WHERE is_shut)
)
SELECT least(
    (SELECT greatest(p.due_ms, CASE WHEN p.due_ms IS NOT NULL THEN (SELECT opens_ms FROM gate) END) FROM pending p),
    (SELECT :"schema".to_ms(min(t.lease_until)) FROM :"schema".tasks t
     WHERE t.queue = $1::text AND t.state = 'claimed'
       AND t.lease_until > coalesce((SELECT now FROM clock) - $10::float8 * interval '1 millisecond', '-infinity')
       AND t.lease_until <= coalesce((SELECT now FROM clock) + $11::float8 * interval '1 millisecond', 'infinity'))
  ) - (SELECT :"schema".to_ms(now) FROM clock) AS due_in_ms
