-- Appends entries to streams, beginning those that do not exist.
-- KEYS: 1 the last epoch, then the head (hash) and the entries (stream) of each stream.
-- ARGV: 1 channel, 2 what to publish, then for each entry the place of its stream (1 …) and its payload.
-- Result: epoch and offset of each entry, one after the other.
-- Invariant: an entry's id is its offset, so offsets are without gap; an epoch is never used twice, also after
--   a loss of the counter, because epochs follow the clock (microseconds). A stream also begins anew when the
--   server's data may have lost what was acknowledged: after a failover or a restart its replication id is another,
--   and offsets that were given before must not be given again in the same epoch.
local time = redis.call('TIME')
local micros = time[1] * 1000000 + time[2]
local now = string.format('%.3f', micros / 1000)
local life = string.match(redis.call('INFO', 'replication'), 'master_replid:(%x+)')
local epochs = {}
local result = {}
for i = 3, #ARGV, 2 do
  local place = tonumber(ARGV[i])
  local headKey, entriesKey = KEYS[2 * place], KEYS[2 * place + 1]
  if not epochs[place] then
    local known = redis.call('HMGET', headKey, 'epoch', 'life')
    epochs[place] = known[1]
    if not epochs[place] or known[2] ~= life then
      local last = tonumber(redis.call('GET', KEYS[1]) or '0')
      epochs[place] = string.format('%.0f', math.max(last + 1, micros))
      redis.call('SET', KEYS[1], epochs[place])
      redis.call('HSET', headKey, 'epoch', epochs[place], 'trimmed', '0', 'head', '0', 'life', life)
      redis.call('DEL', entriesKey)
    end
  end
  local offset = string.format('%.0f', redis.call('HINCRBY', headKey, 'head', 1))
  redis.call('XADD', entriesKey, offset .. '-0', 'p', ARGV[i + 1], 'a', now)
  result[#result + 1] = epochs[place]
  result[#result + 1] = offset
end
redis.call('PUBLISH', ARGV[1], ARGV[2])
return result
