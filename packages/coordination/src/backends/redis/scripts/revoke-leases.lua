-- Ends every lease, also those that expired but could still be renewed, and wakes whoever waits.
-- KEYS: 1 the leases by their end (sorted set). ARGV: 1 what comes before a lease's name in its key, 2 channel.
-- Result: the count of those that were unexpired.
local time = redis.call('TIME')
local now = (time[1] * 1000000 + time[2]) / 1000
local count = redis.call('ZCOUNT', KEYS[1], string.format('(%.3f', now), '+inf')
for _, name in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1)) do
  redis.call('DEL', ARGV[1] .. name)
end
redis.call('DEL', KEYS[1])
redis.call('PUBLISH', ARGV[2], '')
return tostring(count)
