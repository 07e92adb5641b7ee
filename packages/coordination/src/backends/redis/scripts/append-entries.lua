-- Appends entries to streams, beginning those that do not exist and those of an earlier life of the server.
-- KEYS: 1 the life (hash), then the head (hash) and the entries (stream) of each stream.
-- ARGV: 1 channel, 2 what to publish, then for each entry the place of its stream (1 …) and its payload.
-- Result: epoch and offset of each entry, one after the other.
-- Invariant: an entry's id is its offset, so offsets are without gap; none is given twice in one epoch.
local time = redis.call('TIME')
local now = string.format('%.3f', (time[1] * 1000000 + time[2]) / 1000)
local life = life_of_server()
local epochs = {}
local result = {}
for i = 3, #ARGV, 2 do
  local place = tonumber(ARGV[i])
  local headKey, entriesKey = KEYS[2 * place], KEYS[2 * place + 1]
  if not epochs[place] then
    local known = redis.call('HMGET', headKey, 'epoch', 'life')
    epochs[place] = known[1]
    if not epochs[place] or known[2] ~= life then
      local epoch, failure = epoch_of_life(KEYS[1], life)
      if not epoch then return failure end
      epochs[place] = epoch
      redis.call('HSET', headKey, 'epoch', epoch, 'trimmed', '0', 'head', '0', 'life', life)
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
