-- Counts the tasks of a queue by state, as of one instant.
-- Inputs: $1 queue. Result: one row.
WITH clock AS MATERIALIZED (SELECT clock_timestamp() AS now)
SELECT count(*) FILTER (WHERE state = 'waiting')::int AS waiting,
       count(*) FILTER (WHERE state = 'pending' AND run_at <= c.now)::int AS pending,
       count(*) FILTER (WHERE state = 'pending' AND run_at > c.now)::int AS delayed,
       count(*) FILTER (WHERE state = 'claimed')::int AS claimed,
       count(*) FILTER (WHERE state = 'completed')::int AS completed,
       count(*) FILTER (WHERE state = 'dead')::int AS dead,
       count(*) FILTER (WHERE state = 'cancelled')::int AS cancelled,
       count(queue)::int AS total,
       count(*) FILTER (WHERE finished_at IS NULL AND cardinality(failures) > 0)::int AS retrying,
       coalesce((SELECT s.paused FROM :"schema".queue_settings s WHERE s.queue = $1::text), false) AS paused,
       (:"schema".to_ms(max(c.now))
        - :"schema".to_ms(min(run_at) FILTER (WHERE state = 'pending' AND run_at <= c.now))) AS oldest_due_ms
FROM clock c LEFT JOIN :"schema".tasks ON queue = $1::text
