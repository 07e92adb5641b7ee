-- Deletes streams with their entries.
-- KEYS: 1 the life (hash), then head and entries of each stream. ARGV: 1 channel, 2 what to publish.
-- Result: keys deleted.
-- Invariant: whatever begins from now on begins in another epoch, so also a stream of these that is written again.
local count = redis.call('DEL', unpack(KEYS, 2))
redis.call('HDEL', KEYS[1], 'life')
redis.call('PUBLISH', ARGV[1], ARGV[2])
return tostring(count)
