-- Ends a lease that its token holds, expired or not, and hands it to the first in its line, or tells those who wait for its end.
-- Also gives up a place in line, with the lease if it was handed over by then.
-- KEYS: 1 the leases (hash, see grant-lease.lua). ARGV: 1 name, 2 token, or "" to give up a place, 3 the request id
--   whose place is given up. What is to be told goes to the channel of the store, which is named as its leases are.
-- Result: 1 when it was ended, 0 when no lease was; a number, which costs less than a text.
-- Invariant: whoever is handed the lease gets a new token, a term of its own, and a message in its inbox:
--   {k: [request id], token, ttl: term in ms, at: µs}.
local call, name = redis.call, ARGV[1]
local held = call('HGET', KEYS[1], name)
if ARGV[2] ~= '' then
  if not held or string.sub(held, 1, 16) ~= ARGV[2] then return 0 end
  if string.byte(held, 41) == 48 then
    call('HDEL', KEYS[1], name)
    return 1
  end
end
local known = call('HMGET', KEYS[1], '\0' .. name, '')
local line = known[1] and cmsgpack.unpack(known[1]) or {}
local store = function()
  if #line > 0 then call('HSET', KEYS[1], '\0' .. name, cmsgpack.pack(line))
  elseif known[1] then call('HDEL', KEYS[1], '\0' .. name) end
end
if ARGV[2] == '' then
  for index, place in ipairs(line) do
    if place[1] == ARGV[3] then
      table.remove(line, index)
      break
    end
  end
  if not held or string.match(held, '^%Z*', 42) ~= ARGV[3] then
    store()
    return 0
  end
end
local time = call('TIME')
local at = time[1] .. string.sub('00000', #time[2]) .. time[2]
local now = tonumber(at)
local heir = table.remove(line, 1)
while heir and heir[2] <= now do heir = table.remove(line, 1) end
store()
if heir then
  local token, last = at, known[2]
  if last and last >= at then token = string.format('%016.0f', (tonumber(last) or at) + 1) end
  local ttl = string.sub(heir[4], 1, 8)
  call('HSET', KEYS[1], '', token, name,
    token .. at .. ttl .. (#line > 0 and '2' or '0') .. string.sub(heir[4], 10))
  call('PUBLISH', heir[3], cjson.encode({k = {heir[1]}, token = token, ttl = tonumber(ttl), at = at}))
else
  call('HDEL', KEYS[1], name)
end
if string.byte(held, 41) % 2 == 1 then
  local above = string.match(name, '^(.*/).')
  local channel = string.sub(KEYS[1], 1, -1 - #'leases') .. 'wake'
  call('PUBLISH', channel, cjson.encode({'l' .. name, above and 'l' .. above}))
end
return 1
