-- Counts the tasks of a queue by state, as of one instant.
-- KEYS and ARGV 1 and 2: see task-steps.lua.
-- Result: waiting, pending, delayed, claimed, completed, dead, cancelled, retrying, 1 when paused, age of the oldest due
--   task in ms or ''.
local due, all, oldest = 0, 0, nil
for _, lane in ipairs(redis.call('SMEMBERS', P .. 'y')) do
  local key = P .. 'r:' .. lane
  -- Tasks of spans have no delay, so those beside the first are due as it is.
  local beside = tonumber(redis.call('HGET', P .. 'x', lane) or 0)
  all = all + redis.call('ZCARD', key) + beside
  due = due + redis.call('ZCOUNT', key, '-inf', whole(now)) + beside
  local first = redis.call('ZRANGE', key, 0, 0, 'WITHSCORES')[2]
  if first and tonumber(first) <= now then oldest = math.min(oldest or now, tonumber(first)) end
end
local ended, result = 0, {}
for index, state in ipairs({'completed', 'dead', 'cancelled'}) do
  local count = redis.call('ZCARD', P .. 'f:' .. state)
  result[4 + index] = tostring(count)
  ended = ended + count
end
result[1] = tostring(redis.call('HLEN', P .. 'v'))
result[2], result[3] = tostring(due), tostring(all - due)
result[4] = tostring(redis.call('ZCARD', P .. 'l'))
result[8] = tostring(redis.call('HLEN', P .. 's') - ended)
result[9] = redis.call('HEXISTS', P .. 'o', 'paused') == 1 and '1' or '0'
result[10] = oldest and string.format('%.3f', (now - oldest) / 1000) or ''
return result
