-- Deletes streams with their entries.
-- KEYS: 1 the life (hash), then head and entries of each stream. ARGV: 1 channel, 2 what to publish.
-- Result: keys deleted.
-- Invariant: a stream that is written again begins in another epoch.
local count = redis.call('DEL', unpack(KEYS, 2))
epoch_of_life(KEYS[1], true)
redis.call('PUBLISH', ARGV[1], ARGV[2])
return tostring(count)
