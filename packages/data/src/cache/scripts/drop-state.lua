-- Forgets the state of a partition, which makes every entry of it a miss. It needs no memory, so it also works on a
-- server that is full and therefore refuses to note an invalidation.
-- KEYS: 1 state, 2 generation, 3 log of events. ARGV: 1 channel. Result: keys deleted.
local count = redis.call('DEL', KEYS[1], KEYS[2], KEYS[3])
redis.call('PUBLISH', ARGV[1], 'r -')
return count
