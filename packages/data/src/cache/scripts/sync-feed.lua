-- Brings a process up to date with what was invalidated since it last asked.
-- KEYS: 1 state, 2 generation, 3 log of events (stream).
-- ARGV: 1 generation, 2 number of the last event that it knows, 3 a new generation, 4 epoch and 5 position of the
--   database ("" when unknown), 6 for which want the position was taken, 7 channel, 8 most events.
-- Result: {"generation"}; {server's ms, last event, want when a position is wanted or "", "1" when events are missing,
--   event, …}.
-- Writes each time, so that a master which lost its replicas and may not write any more (min-replicas-to-write)
--   does not keep its readers' trust.
local state = redis.call('HMGET', KEYS[1], 'generation', 'events', 'epoch', 'base', 'want')
if state[1] ~= ARGV[1] then return {'generation'} end
local time = redis.call('TIME')
local now = string.format('%.0f', time[1] * 1000 + time[2] / 1000)
redis.call('HSET', KEYS[1], 'synced', now)
local base, want = state[4], state[5]
if ARGV[4] ~= '' and ARGV[4] > (state[3] or '') then
  redis.call('HSET', KEYS[1], 'epoch', ARGV[4])
  redis.call('HDEL', KEYS[1], 'base')
  want = tostring(redis.call('HINCRBY', KEYS[1], 'want', 1))
  base = false
  if state[3] then
    -- A later history: nothing of the former one may be served, and its floors say nothing in this one.
    for _, field in ipairs(redis.call('HKEYS', KEYS[1])) do
      if string.find(field, '^p%d') then redis.call('HDEL', KEYS[1], field) end
    end
    redis.call('HSET', KEYS[1], 'generation', ARGV[3])
    redis.call('SET', KEYS[2], ARGV[3])
    redis.call('PUBLISH', ARGV[7], 'r ' .. ARGV[3])
    return {'generation'}
  end
elseif not base and ARGV[4] ~= '' and ARGV[4] == state[3] and ARGV[6] == want then
  redis.call('HSET', KEYS[1], 'base', ARGV[5])
  base = ARGV[5]
end
local result = {now, state[2], base and '' or want, ''}
local known, last = tonumber(ARGV[2]), tonumber(state[2])
if last < known or last - known > tonumber(ARGV[8]) then
  result[4] = '1'
elseif last > known then
  local entries = redis.call('XRANGE', KEYS[3], string.format('%.0f-0', known + 1), '+')
  if #entries ~= last - known then result[4] = '1' return result end
  for i = 1, #entries do result[#result + 1] = entries[i][2][4] end
end
return result
