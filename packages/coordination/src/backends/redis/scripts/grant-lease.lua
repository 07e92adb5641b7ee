-- Takes a lease when it is free, or finds the grant of the same request again.
-- KEYS: 1 the lease (hash), 2 the last token, 3 the leases by their end (sorted set).
-- ARGV: 1 name, 2 owner, 3 TTL in ms, 4 request id or "", 5 metadata (JSON), 6 ms that a lapsed lease is kept,
--   7 "1" to mark a held lease so that its release is told.
-- Result: {"1", token} when granted, {"0", owner, token, remaining ms, metadata} when held.
-- Invariant: tokens grow, also after a failover that lost the last of them, because they follow the clock
--   (microseconds) wherever it is ahead of the counter.
local time = redis.call('TIME')
local micros = time[1] * 1000000 + time[2]
local now = micros / 1000
local held = redis.call('HMGET', KEYS[1], 'owner', 'token', 'ends', 'request', 'metadata', 'awaited')
local isRepeat = ARGV[4] ~= '' and held[4] == ARGV[4]
if held[2] and not isRepeat and tonumber(held[3]) > now then
  if ARGV[7] == '1' then redis.call('HSET', KEYS[1], 'awaited', '1') end
  return {'0', held[1], held[2], string.format('%.3f', held[3] - now), held[5]}
end
local token = held[2]
if not isRepeat then
  local last = tonumber(redis.call('GET', KEYS[2]) or '0')
  token = string.format('%.0f', math.max(last + 1, micros))
  redis.call('SET', KEYS[2], token)
end
local ends = now + ARGV[3]
redis.call('HSET', KEYS[1], 'owner', ARGV[2], 'token', token, 'ends', string.format('%.3f', ends),
  'request', ARGV[4], 'metadata', ARGV[5], 'awaited', isRepeat and held[6] or '0')
redis.call('PEXPIREAT', KEYS[1], string.format('%.0f', ends + ARGV[6]))
redis.call('ZREMRANGEBYSCORE', KEYS[3], '-inf', string.format('%.3f', now - ARGV[6]))
redis.call('ZADD', KEYS[3], string.format('%.3f', ends), ARGV[1])
return {'1', token}
