-- How the store is laid out; noted by the first program that may.
-- KEYS: the note. ARGV: the format of this program. Result: the format that is noted, or this one.
-- Where nothing can be written (a replica, no memory) it stays unnoted: reading does no harm.
local noted = redis.call('GET', KEYS[1])
if noted then return noted end
redis.pcall('SET', KEYS[1], ARGV[1])
return ARGV[1]
