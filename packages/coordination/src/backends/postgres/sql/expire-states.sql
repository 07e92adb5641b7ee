-- Removes values whose time is over; see the function.
SELECT :"schema".expire_states($1::text, $2::int, $3::bigint, $4::text) AS count
