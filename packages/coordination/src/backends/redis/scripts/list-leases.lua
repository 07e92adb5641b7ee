-- Unexpired leases by prefix, in no order.
-- KEYS: 1 the leases (hash, see grant-lease.lua). ARGV: 1 prefix, 2 "1" to mark them so that their release is told.
-- Result: name, owner, token, remaining ms, metadata of each lease, one after the other.
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local result = {}
for _, name in ipairs(redis.call('HKEYS', KEYS[1])) do
  if name ~= '' and string.byte(name) ~= 0 and string.sub(name, 1, #ARGV[1]) == ARGV[1] then
    local held = redis.call('HGET', KEYS[1], name)
    local ends = (tonumber(string.sub(held, 17, 32)) or 0) + (tonumber(string.sub(held, 33, 40)) or 0) * 1000
    if ends > now then
      local duty = tonumber(string.sub(held, 41, 41)) or 0
      if ARGV[2] == '1' and duty % 2 == 0 then
        redis.call('HSET', KEYS[1], name, string.sub(held, 1, 40) .. duty + 1 .. string.sub(held, 42))
      end
      local owner, metadata = string.match(held, '^%Z*%z(%Z*)%z(.*)$', 42)
      local remaining = string.format('%.3f', (ends - now) / 1000)
      for _, value in ipairs({name, owner, string.sub(held, 1, 16), remaining, metadata}) do
        result[#result + 1] = value
      end
    end
  end
end
return result
