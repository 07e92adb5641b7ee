-- Deletes streams with their entries.
-- KEYS: 1 the life (hash), then head and entries of each stream. ARGV: 1 channel, 2 what to publish.
-- Result: keys deleted.
-- Invariant: whatever begins from now on begins in another epoch, so also a stream of these that is written again.
local count = 0
-- In pieces: Lua hands over some thousands of arguments at most.
for first = 2, #KEYS, 1000 do
  count = count + redis.call('DEL', unpack(KEYS, first, math.min(#KEYS, first + 999)))
end
redis.call('HDEL', KEYS[1], 'life')
redis.call('PUBLISH', ARGV[1], ARGV[2])
return tostring(count)
