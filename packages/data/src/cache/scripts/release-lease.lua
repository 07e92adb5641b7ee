-- Gives up the right to load, because the load failed.
-- KEYS: 1 lease. ARGV: 1 generation and token, 2 channel, 3 key. Result: 1 when it was still held.
local lease = redis.call('GET', KEYS[1])
if lease ~= ARGV[1] and lease ~= ARGV[1] .. 'w' then return 0 end
redis.call('DEL', KEYS[1])
if lease ~= ARGV[1] then redis.call('PUBLISH', ARGV[2], 'f ' .. ARGV[3]) end
return 1
