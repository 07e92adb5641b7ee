-- Appends entries to streams, beginning those that do not exist.
-- Inputs: $1 stream and $2 payload (JSON text) of each entry, $3 what to notify.
-- Result: n (1 …), epoch and offset of each entry, in the order given.
-- Invariant: the counter row of each stream is locked, in the order of names, until the transaction ends, so
--   offsets are without gap and become visible in their order.
WITH input AS MATERIALIZED (
  SELECT i.stream COLLATE "C" AS stream, i.payload, i.n
  FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS i (stream, payload, n)
),
added AS MATERIALIZED (
  SELECT stream, count(*) AS count FROM input GROUP BY stream
),
head AS (
  INSERT INTO :"schema".streams AS s (name, epoch, head)
  SELECT stream, nextval(':"schema".stream_epochs'::regclass), count FROM added ORDER BY stream
  ON CONFLICT (name) DO UPDATE SET head = s.head + excluded.head
  RETURNING s.name, s.epoch, s.head
),
placed AS MATERIALIZED (
  SELECT i.n, i.payload, h.epoch,
         h.head - a.count + row_number() OVER (PARTITION BY i.stream ORDER BY i.n) AS entry_offset
  FROM input i JOIN added a ON a.stream = i.stream JOIN head h ON h.name = i.stream
),
stored AS (
  INSERT INTO :"schema".entries (epoch, entry_offset, payload)
  SELECT epoch, entry_offset, payload::json FROM placed
),
told AS MATERIALIZED (SELECT pg_notify(:'channel', $3::text))
SELECT n::int AS n, epoch, entry_offset FROM placed LEFT JOIN told ON true ORDER BY n
