-- Shared state, and who waits for a lease. See 0001 for the notation.

-- Whether somebody waits to hear of this grant's release. Uncontended leases notify nobody: a commit that notifies
-- waits for every other one that does.
ALTER TABLE :"schema".leases ADD COLUMN awaited boolean NOT NULL DEFAULT false;
-- next
-- The present values of each namespace's stream of changes; its key is the epoch of that stream, so that a stream
-- that begins anew begins empty.
CREATE TABLE :"schema".states (
  epoch bigint NOT NULL,
  key text COLLATE "C" NOT NULL,
  revision bigint NOT NULL,
  expires_at timestamptz,
  value json NOT NULL,
  metadata json NOT NULL,
  PRIMARY KEY (epoch, key)
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 500);
-- next
CREATE INDEX states_expiring ON :"schema".states (epoch, expires_at) WHERE expires_at IS NOT NULL;
-- next
-- Locks a stream's counter until the transaction ends, beginning the stream when there is none.
-- Inputs: the stream. Result: its epoch and head, and up to where it was trimmed.
CREATE FUNCTION :"schema".lock_stream(p_stream text)
RETURNS :"schema".streams LANGUAGE plpgsql AS $$
DECLARE
  found_stream :"schema".streams;
BEGIN
  LOOP
    SELECT * INTO found_stream FROM :"schema".streams WHERE name = p_stream FOR UPDATE;
    IF FOUND THEN RETURN found_stream; END IF;
    INSERT INTO :"schema".streams (name, epoch, head)
    VALUES (p_stream, nextval(':"schema".stream_epochs'::regclass), 0) ON CONFLICT (name) DO NOTHING;
  END LOOP;
END $$;
-- next
-- Writes the new head of a stream, and forgets its oldest entries once a quarter more than p_history are there.
CREATE FUNCTION :"schema".advance_stream(p_stream :"schema".streams, p_head bigint, p_history bigint)
RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  trim_to bigint := p_stream.trimmed_to;
BEGIN
  IF p_head - trim_to > p_history + p_history / 4 THEN
    trim_to := p_head - p_history;
    DELETE FROM :"schema".entries WHERE epoch = p_stream.epoch AND entry_offset <= trim_to;
  END IF;
  UPDATE :"schema".streams SET head = p_head, trimmed_to = trim_to WHERE name = p_stream.name;
END $$;
-- next
-- Applies writes to the state of a namespace, one after the other, each under its own condition.
-- Inputs: the stream; of each write its kind (set, delete, increment), key, the revision that it asks for (0: none
--   may be there; null: any), its TTL in ms (null: none, or as it was when incrementing), value (JSON text; the amount of
--   an increment) and metadata (JSON text); who writes; how many changes to keep; what to notify.
-- Result: one row per write, in order: its outcome (written, unchanged, conflict, not-integer), epoch and revision
--   after it, and the entry that is there now.
-- Invariant: the stream's counter is locked from before the first look until the transaction ends, so revisions are
--   without gap, in commit order, and value, revision and stream of changes never disagree.
CREATE FUNCTION :"schema".write_states(
  p_stream text, p_kinds text[], p_keys text[], p_if_revisions bigint[], p_ttls float8[], p_values text[],
  p_metadata text[], p_writer text, p_history bigint, p_notice text
) RETURNS TABLE (
  outcome text, epoch bigint, revision bigint, entry_revision bigint, value text, metadata text, remaining_ms float8
) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
  stream :"schema".streams := :"schema".lock_stream(p_stream);
  head bigint := stream.head;
  now_at timestamptz := clock_timestamp();
  held :"schema".states;
  has_held boolean;
  new_value json;
  new_metadata json;
  sum numeric;
  ends timestamptz;
BEGIN
  FOR n IN 1 .. cardinality(p_kinds) LOOP
    SELECT * INTO held FROM :"schema".states s
    WHERE s.epoch = stream.epoch AND s.key = p_keys[n] AND (s.expires_at IS NULL OR s.expires_at > now_at);
    has_held := FOUND;
    outcome := 'written';
    IF p_if_revisions[n] IS NOT NULL
       AND p_if_revisions[n] <> (CASE WHEN has_held THEN held.revision ELSE 0 END) THEN
      outcome := 'conflict';
    ELSIF p_kinds[n] = 'delete' THEN
      IF has_held THEN
        head := head + 1;
        DELETE FROM :"schema".states s WHERE s.epoch = stream.epoch AND s.key = p_keys[n];
        INSERT INTO :"schema".entries (epoch, entry_offset, payload) VALUES
          (stream.epoch, head, json_build_object('k', p_keys[n], 'd', 'deleted', 'w', p_writer));
        has_held := false;
      ELSE
        outcome := 'unchanged';
      END IF;
    ELSE
      new_value := NULL;
      new_metadata := coalesce(p_metadata[n]::json, held.metadata, 'null'::json);
      ends := now_at + p_ttls[n] * interval '1 millisecond';
      IF p_kinds[n] = 'set' THEN
        new_value := p_values[n]::json;
        new_metadata := coalesce(p_metadata[n], 'null')::json;
      ELSIF NOT has_held OR held.value::text ~ '^-?[0-9]{1,16}$' THEN
        sum := CASE WHEN has_held THEN held.value::text::numeric ELSE 0 END + p_values[n]::numeric;
        IF abs(sum) <= 9007199254740991 THEN new_value := sum::text::json; END IF;
        IF has_held THEN ends := coalesce(ends, held.expires_at); END IF;
      END IF;
      IF new_value IS NULL THEN
        outcome := 'not-integer';
      ELSE
        head := head + 1;
        INSERT INTO :"schema".states AS s (epoch, key, revision, expires_at, value, metadata)
        VALUES (stream.epoch, p_keys[n], head, ends, new_value, new_metadata)
        ON CONFLICT (epoch, key) DO UPDATE SET
          revision = excluded.revision, expires_at = excluded.expires_at, value = excluded.value,
          metadata = excluded.metadata
        RETURNING * INTO held;
        has_held := true;
        INSERT INTO :"schema".entries (epoch, entry_offset, payload) VALUES
          (stream.epoch, head, json_build_object('k', p_keys[n], 'v', new_value, 'm', new_metadata,
            'x', :"schema".to_ms(ends) - :"schema".to_ms(now_at), 'w', p_writer));
      END IF;
    END IF;
    epoch := stream.epoch;
    revision := head;
    entry_revision := CASE WHEN has_held THEN held.revision END;
    value := CASE WHEN has_held THEN held.value::text END;
    metadata := CASE WHEN has_held THEN held.metadata::text END;
    remaining_ms := CASE WHEN has_held THEN :"schema".to_ms(held.expires_at) - :"schema".to_ms(now_at) END;
    RETURN NEXT;
  END LOOP;
  IF head <> stream.head THEN
    PERFORM :"schema".advance_stream(stream, head, p_history);
    PERFORM pg_notify(:'channel', p_notice);
  END IF;
END $$;
-- next
-- Removes values whose time is over, each with a change of its own.
-- Inputs: the stream, most values, how many changes to keep, what to notify. Result: how many were removed.
CREATE FUNCTION :"schema".expire_states(p_stream text, p_limit integer, p_history bigint, p_notice text)
RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
  stream :"schema".streams;
  head bigint;
  gone text;
BEGIN
  IF NOT EXISTS (
    SELECT FROM :"schema".states s JOIN :"schema".streams t ON t.epoch = s.epoch
    WHERE t.name = p_stream AND s.expires_at <= clock_timestamp()
  ) THEN
    RETURN 0;
  END IF;
  stream := :"schema".lock_stream(p_stream);
  head := stream.head;
  FOR gone IN
    DELETE FROM :"schema".states s WHERE s.epoch = stream.epoch AND s.key IN (
      SELECT e.key FROM :"schema".states e
      WHERE e.epoch = stream.epoch AND e.expires_at <= clock_timestamp() ORDER BY e.expires_at LIMIT p_limit)
    RETURNING s.key
  LOOP
    head := head + 1;
    INSERT INTO :"schema".entries (epoch, entry_offset, payload) VALUES
      (stream.epoch, head, json_build_object('k', gone, 'd', 'expired'));
  END LOOP;
  IF head <> stream.head THEN
    PERFORM :"schema".advance_stream(stream, head, p_history);
    PERFORM pg_notify(:'channel', p_notice);
  END IF;
  RETURN (head - stream.head)::integer;
END $$;
