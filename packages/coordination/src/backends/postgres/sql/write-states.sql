-- Applies writes to the state of a namespace; see the function.
SELECT outcome, epoch, revision, entry_revision, value, metadata, remaining_ms
FROM :"schema".write_states(
  $1::text, $2::text[], $3::text[], $4::bigint[], $5::float8[], $6::text[], $7::text[], $8::text, $9::bigint,
  $10::text)
