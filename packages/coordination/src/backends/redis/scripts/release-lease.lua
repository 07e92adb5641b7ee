-- Ends a lease that its token holds and hands it to the first in its line, or tells those who wait for its end.
-- Also gives up a place in line, with the lease if it was handed over by then.
-- KEYS: 1 the leases (hash, see grant-lease.lua). ARGV: 1 name, 2 token, or "" to give up a place, 3 channel,
--   4 the request id whose place is given up.
-- Result: "1" when it was held, "0" when no lease was ended.
-- Invariant: whoever is handed the lease gets a new token, a term of its own, and a message in its inbox:
--   {k: [request id], token, ttl: term in ms, at: µs}.
local call, name = redis.call, ARGV[1]
local known = call('HMGET', KEYS[1], name, '\0' .. name)
local held, line = known[1], known[2] and cmsgpack.unpack(known[2])
if ARGV[2] == '' and line then
  for index, place in ipairs(line) do
    if place[1] == ARGV[4] then
      table.remove(line, index)
      break
    end
  end
  if #line > 0 then call('HSET', KEYS[1], '\0' .. name, cmsgpack.pack(line))
  else call('HDEL', KEYS[1], '\0' .. name) end
end
if not held then return '0' end
if ARGV[2] == '' then
  if string.match(held, '^%Z*', 34) ~= ARGV[4] then return '0' end
elseif string.sub(held, 1, 16) ~= ARGV[2] then return '0' end
local time = call('TIME')
local now = time[1] * 1000000 + time[2]
if (tonumber(string.sub(held, 17, 32)) or 0) <= now then return '0' end
if line then
  local heir = table.remove(line, 1)
  while heir and heir[2] <= now do heir = table.remove(line, 1) end
  if heir then
    local token = string.format('%016.0f', math.max((call('HGET', KEYS[1], '') or 0) + 1, now))
    local ends = string.format('%016.0f', now + heir[4])
    call('HSET', KEYS[1], '', token,
      name, token .. ends .. '0' .. heir[1] .. '\0' .. heir[5] .. '\0' .. heir[6])
    if #line > 0 then call('HSET', KEYS[1], '\0' .. name, cmsgpack.pack(line))
    else call('HDEL', KEYS[1], '\0' .. name) end
    call('PUBLISH', heir[3], cjson.encode({
      k = {heir[1]}, token = token, ttl = heir[4] / 1000, at = string.format('%.0f', now)
    }))
  else
    call('HDEL', KEYS[1], name, '\0' .. name)
  end
else
  call('HDEL', KEYS[1], name)
end
if string.byte(held, 33) == 49 then
  local above = string.match(name, '^(.*/).')
  call('PUBLISH', ARGV[3], cjson.encode({'l' .. name, above and 'l' .. above}))
end
return '1'
