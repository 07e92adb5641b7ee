-- Unexpired leases by prefix, in no order.
-- KEYS: 1 the leases (hash, see grant-lease.lua). ARGV: 1 prefix, 2 "1" to mark them so that their release is told.
-- Result: name, owner, token, remaining ms, metadata of each lease, one after the other.
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local result = {}
for _, name in ipairs(redis.call('HKEYS', KEYS[1])) do
  if name ~= '' and string.byte(name) ~= 0 and string.sub(name, 1, #ARGV[1]) == ARGV[1] then
    local held = cmsgpack.unpack(redis.call('HGET', KEYS[1], name))
    if held[1] > now then
      if ARGV[2] == '1' and held[4] == 0 then
        held[4] = 1
        redis.call('HSET', KEYS[1], name, cmsgpack.pack(held))
      end
      for _, value in ipairs({name, held[5], held[2], string.format('%.3f', (held[1] - now) / 1000), held[6]}) do
        result[#result + 1] = value
      end
    end
  end
end
return result
