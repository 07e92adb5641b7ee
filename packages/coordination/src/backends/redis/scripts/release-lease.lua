-- Ends a lease that its token holds, and tells those who wait for that.
-- KEYS: 1 the lease (hash), 2 the leases by their end (sorted set). ARGV: 1 name, 2 token, 3 channel,
--   4 what to publish.
-- Result: "1" when it was held, "0" when nothing was changed.
local time = redis.call('TIME')
local now = (time[1] * 1000000 + time[2]) / 1000
local held = redis.call('HMGET', KEYS[1], 'token', 'ends', 'awaited')
if held[1] ~= ARGV[2] or tonumber(held[2]) <= now then return '0' end
redis.call('DEL', KEYS[1])
redis.call('ZREM', KEYS[2], ARGV[1])
if held[3] == '1' then redis.call('PUBLISH', ARGV[3], ARGV[4]) end
return '1'
