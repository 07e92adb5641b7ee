-- Statistics of a queue cost what lives in it, not what was in it.

-- Counts the tasks of a queue by state, as of one instant.
-- Inputs: queue. Result: one row.
-- Invariant: it walks the index itself. That marks entries whose tasks are gone, so the next walk passes them over; a
--   bitmap of the index visits them, and their pages, every time until vacuum has come.
CREATE FUNCTION :"schema".queue_stats(of_queue text)
RETURNS TABLE (waiting integer, pending integer, delayed integer, claimed integer, completed integer, dead integer,
               cancelled integer, total integer, retrying integer, paused boolean, oldest_due_ms float8)
LANGUAGE sql STABLE SET enable_bitmapscan = off SET enable_seqscan = off AS $$
  WITH clock AS MATERIALIZED (SELECT clock_timestamp() AS now)
  SELECT count(*) FILTER (WHERE t.state = 'waiting')::int,
         count(*) FILTER (WHERE t.state = 'pending' AND t.run_at <= c.now)::int,
         count(*) FILTER (WHERE t.state = 'pending' AND t.run_at > c.now)::int,
         count(*) FILTER (WHERE t.state = 'claimed')::int,
         count(*) FILTER (WHERE t.state = 'completed')::int,
         count(*) FILTER (WHERE t.state = 'dead')::int,
         count(*) FILTER (WHERE t.state = 'cancelled')::int,
         count(t.queue)::int,
         count(*) FILTER (WHERE t.finished_at IS NULL AND cardinality(t.failures) > 0)::int,
         coalesce((SELECT s.paused FROM :"schema".queue_settings s WHERE s.queue = of_queue), false),
         :"schema".to_ms(max(c.now))
           - :"schema".to_ms(min(t.run_at) FILTER (WHERE t.state = 'pending' AND t.run_at <= c.now))
  FROM clock c LEFT JOIN :"schema".tasks t ON t.queue = of_queue
$$;
