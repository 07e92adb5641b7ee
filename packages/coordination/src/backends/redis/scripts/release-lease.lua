-- Ends a lease that its token holds and hands it to the first in its line, or tells those who wait for its end.
-- Also gives up a place in line, with the lease if it was handed over by then.
-- KEYS: 1 the leases (hash, see grant-lease.lua). ARGV: 1 name, 2 token, or "" to give up a place, 3 channel,
--   4 the request id whose place is given up.
-- Result: "1" when it was held, "0" when no lease was ended.
-- Invariant: whoever is handed the lease gets a new token, a term of its own, and a message in its inbox:
--   {k: [request id], token, ttl: term in ms, at: µs}.
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local known = redis.call('HMGET', KEYS[1], ARGV[1], '\0' .. ARGV[1], '')
local line = known[2] and cmsgpack.unpack(known[2]) or nil
if ARGV[2] == '' and line then
  for index, place in ipairs(line) do
    if place[1] == ARGV[4] then
      table.remove(line, index)
      break
    end
  end
  if #line > 0 then redis.call('HSET', KEYS[1], '\0' .. ARGV[1], cmsgpack.pack(line))
  else redis.call('HDEL', KEYS[1], '\0' .. ARGV[1]) end
end
if not known[1] then return '0' end
local held = cmsgpack.unpack(known[1])
local isOwn = held[2] == ARGV[2]
if ARGV[2] == '' then isOwn = held[3] == ARGV[4] end
if not isOwn or held[1] <= now then return '0' end
local heir = line and table.remove(line, 1)
while heir and heir[2] <= now do heir = table.remove(line, 1) end
if heir then
  local token = string.format('%.0f', math.max((known[3] or 0) + 1, now))
  redis.call('HSET', KEYS[1], '', token,
    ARGV[1], cmsgpack.pack({now + heir[4], token, heir[1], 0, heir[5], heir[6]}))
  if #line > 0 then redis.call('HSET', KEYS[1], '\0' .. ARGV[1], cmsgpack.pack(line))
  else redis.call('HDEL', KEYS[1], '\0' .. ARGV[1]) end
  redis.call('PUBLISH', heir[3], cjson.encode({
    k = {heir[1]}, token = token, ttl = heir[4] / 1000, at = string.format('%.0f', now)
  }))
elseif line then
  redis.call('HDEL', KEYS[1], ARGV[1], '\0' .. ARGV[1])
else
  redis.call('HDEL', KEYS[1], ARGV[1])
end
if held[4] == 1 then
  local above = string.match(ARGV[1], '^(.*/).')
  redis.call('PUBLISH', ARGV[3], cjson.encode({'l' .. ARGV[1], above and 'l' .. above}))
end
return '1'
