-- Deletes streams with their entries.
-- KEYS: head and entries of each stream. ARGV: 1 channel, 2 what to publish. Result: keys deleted.
local count = redis.call('DEL', unpack(KEYS))
redis.call('PUBLISH', ARGV[1], ARGV[2])
return tostring(count)
