-- Extends leases that their token still holds, expired or not.
-- KEYS: 1 the leases by their end (sorted set), 2… the leases (hashes).
-- ARGV: 1 TTL in ms, 2 ms that a lapsed lease is kept, 3… name and token of each lease.
-- Result: "1" or "0" for each lease.
local time = redis.call('TIME')
local ends = (time[1] * 1000000 + time[2]) / 1000 + ARGV[1]
local result = {}
for i = 2, #KEYS do
  local name, token = ARGV[2 * i - 1], ARGV[2 * i]
  if redis.call('HGET', KEYS[i], 'token') == token then
    redis.call('HSET', KEYS[i], 'ends', string.format('%.3f', ends))
    redis.call('PEXPIREAT', KEYS[i], string.format('%.0f', ends + ARGV[2]))
    redis.call('ZADD', KEYS[1], string.format('%.3f', ends), name)
    result[#result + 1] = '1'
  else
    result[#result + 1] = '0'
  end
end
return result
