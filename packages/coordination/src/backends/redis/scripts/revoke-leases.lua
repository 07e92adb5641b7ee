-- Ends every lease, also those that expired but could still be renewed, and wakes whoever waits. Tokens go on.
-- KEYS: 1 the leases (hash, see grant-lease.lua). ARGV: 1 channel.
-- Result: the count of those that were unexpired.
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local count = 0
local fields = redis.call('HGETALL', KEYS[1])
for i = 1, #fields, 2 do
  local isLease = fields[i] ~= '' and string.byte(fields[i]) ~= 0
  local since, ttl = string.sub(fields[i + 1], 17, 32), string.sub(fields[i + 1], 33, 40)
  if isLease and (tonumber(since) or 0) + (tonumber(ttl) or 0) * 1000 > now then count = count + 1 end
end
local token = redis.call('HGET', KEYS[1], '')
redis.call('DEL', KEYS[1])
if token then redis.call('HSET', KEYS[1], '', token) end
redis.call('PUBLISH', ARGV[1], '')
return tostring(count)
