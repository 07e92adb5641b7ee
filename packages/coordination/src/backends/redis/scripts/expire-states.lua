-- Removes values whose time is over, each with a change of its own.
-- KEYS: 1 the head (hash) and 2 the entries (stream) of the changes, 3 the values (hash), 4 the ends of those that
--   have one (sorted set), 5 the last epoch. ARGV: 1 channel, 2 what to publish, 3 most values.
-- Result: how many were removed.
local time = redis.call('TIME')
local stamp = string.format('%.3f', (time[1] * 1000000 + time[2]) / 1000)
local known = redis.call('HMGET', KEYS[1], 'epoch', 'life', 'head')
local due = redis.call('ZRANGEBYSCORE', KEYS[4], '-inf', stamp, 'LIMIT', 0, ARGV[3])
if not known[1] or #due == 0 then return '0' end
-- As write-states.lua does after a failover or a restart.
local life = string.match(redis.call('INFO', 'replication'), 'master_replid:(%x+)')
if known[2] ~= life then
  local last = tonumber(redis.call('GET', KEYS[5]) or '0')
  local epoch = string.format('%.0f', math.max(last + 1, time[1] * 1000000 + time[2]))
  redis.call('SET', KEYS[5], epoch)
  redis.call('HSET', KEYS[1], 'epoch', epoch, 'life', life, 'trimmed', known[3])
  redis.call('DEL', KEYS[2])
end
local count = 0
for _, key in ipairs(due) do
  redis.call('ZREM', KEYS[4], key)
  if redis.call('HDEL', KEYS[3], key) == 1 then
    count = count + 1
    local offset = string.format('%.0f', redis.call('HINCRBY', KEYS[1], 'head', 1))
    redis.call('XADD', KEYS[2], offset .. '-0', 'p', '{"k":' .. cjson.encode(key) .. ',"d":"expired"}', 'a', stamp)
  end
end
if count > 0 then redis.call('PUBLISH', ARGV[1], ARGV[2]) end
return tostring(count)
