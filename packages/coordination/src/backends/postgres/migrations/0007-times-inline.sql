-- What these functions do depends on the session's time zone as far as the server knows. Said to be immutable, they were
-- run as functions of their own, for each row; said as it is, they become part of the statement that uses them.
ALTER FUNCTION :"schema".to_ms(timestamptz) STABLE;
-- next
ALTER FUNCTION :"schema".refilled(float8, timestamptz, integer, float8, timestamptz) STABLE;
