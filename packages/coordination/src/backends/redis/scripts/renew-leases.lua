-- Extends leases that their token still holds, expired or not.
-- KEYS: 1 the leases (hash, see grant-lease.lua). ARGV: 1 TTL in ms (8 digits), 2… name and token of each lease.
-- Result: "1" or "0" for each lease.
local time = redis.call('TIME')
local term = time[1] .. string.sub('00000', #time[2]) .. time[2] .. ARGV[1]
local result = {}
for i = 2, #ARGV, 2 do
  local held = redis.call('HGET', KEYS[1], ARGV[i])
  if held and string.sub(held, 1, 16) == ARGV[i + 1] then
    redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1] .. term .. string.sub(held, 41))
    result[#result + 1] = '1'
  else
    result[#result + 1] = '0'
  end
end
return result
