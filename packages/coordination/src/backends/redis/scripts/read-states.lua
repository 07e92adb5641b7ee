-- Reads values of a namespace with its head, as of one instant.
-- KEYS: 1 the head (hash) of the changes, 2 the values (hash), 3 the ends of those that have one (sorted set).
-- ARGV: 1 most values, 2… keys; none for all of them.
-- Result: {} for a namespace that was never written; else epoch, head, "1" or "0" when there are more values than
--   asked for (then none is given), and of each value key, value as it is stored, remaining ms ("" without end).
local head = redis.call('HMGET', KEYS[1], 'epoch', 'head')
if not head[1] then return {} end
local time = redis.call('TIME')
local now = (time[1] * 1000000 + time[2]) / 1000
local result = {head[1], head[2], '0'}
local function add(key, stored)
  if not stored then return end
  local ends = redis.call('ZSCORE', KEYS[3], key)
  if ends and tonumber(ends) <= now then return end
  result[#result + 1] = key
  result[#result + 1] = stored
  result[#result + 1] = ends and string.format('%.3f', ends - now) or ''
end
if #ARGV > 1 then
  for i = 2, #ARGV do add(ARGV[i], redis.call('HGET', KEYS[2], ARGV[i])) end
elseif redis.call('HLEN', KEYS[2]) > tonumber(ARGV[1]) then
  result[3] = '1'
else
  local all = redis.call('HGETALL', KEYS[2])
  for i = 1, #all, 2 do add(all[i], all[i + 1]) end
end
return result
