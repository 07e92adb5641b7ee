-- Unexpired leases by prefix, in no order.
-- KEYS: 1 the leases by their end (sorted set). ARGV: 1 what comes before a lease's name in its key, 2 prefix,
--   3 "1" to mark them so that their release is told.
-- Result: name, owner, token, remaining ms, metadata of each lease, one after the other.
-- Every lease lies in the slot of KEYS[1], so its key may be made here.
local time = redis.call('TIME')
local now = (time[1] * 1000000 + time[2]) / 1000
local result = {}
for _, name in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], string.format('(%.3f', now), '+inf')) do
  if string.sub(name, 1, #ARGV[2]) == ARGV[2] then
    local held = redis.call('HMGET', ARGV[1] .. name, 'owner', 'token', 'ends', 'metadata')
    if held[2] then
      if ARGV[3] == '1' then redis.call('HSET', ARGV[1] .. name, 'awaited', '1') end
      for _, value in ipairs({name, held[1], held[2], string.format('%.3f', held[3] - now), held[4]}) do
        result[#result + 1] = value
      end
    end
  end
end
return result
