-- Takes entries away and remembers that it did, so that no load from before can bring them back.
-- KEYS: 1 state, 2 generation, 3 log of events (stream), then entry and lease of each key, then the tags.
-- ARGV: 1 generation, 2 a new generation, 3 epoch and 4 position of the change ("" when unknown), 5 channel,
--   6 the event (JSON), 7 events kept, 8 number of keys, then the bucket of each key.
-- Result: {"generation"}; {generation, number of the event}, with a new generation when the epoch is a later one.
-- Invariant: stamps and floors only grow. Without a base no read of a replica is stored; it goes when nobody knows
--   how far a replica must be, and comes back with a position that was taken afterwards.
local state = redis.call('HMGET', KEYS[1], 'generation', 'epoch', 'base')
local generation = state[1]
if generation ~= ARGV[1] then return {'generation'} end
local function unjudged()
  redis.call('HDEL', KEYS[1], 'base')
  redis.call('HINCRBY', KEYS[1], 'want', 1)
end
if ARGV[3] ~= '' and ARGV[3] > (state[2] or '') then
  redis.call('HSET', KEYS[1], 'epoch', ARGV[3])
  unjudged()
  if state[2] then
    generation = ARGV[2]
    -- Floors of the former history say nothing in this one, where positions may be lower.
    for _, field in ipairs(redis.call('HKEYS', KEYS[1])) do
      if string.find(field, '^p%d') then redis.call('HDEL', KEYS[1], field) end
    end
    redis.call('HSET', KEYS[1], 'generation', generation)
    redis.call('SET', KEYS[2], generation)
    redis.call('PUBLISH', ARGV[5], 'r ' .. generation)
  end
elseif ARGV[3] == '' or ARGV[3] ~= state[2] then
  unjudged()
elseif #KEYS >= 4 + 2 * ARGV[8] and state[3] and ARGV[4] > state[3] then
  -- A tag hangs on entries of every bucket, so its position is a floor for all.
  redis.call('HSET', KEYS[1], 'base', ARGV[4])
end
local stamp = redis.call('HINCRBY', KEYS[1], 'seq', 1)
for i = 1, tonumber(ARGV[8]) do
  local bucket = ARGV[8 + i]
  redis.call('DEL', KEYS[2 + 2 * i], KEYS[3 + 2 * i])
  redis.call('HSET', KEYS[1], 's' .. bucket, stamp)
  if ARGV[4] > (redis.call('HGET', KEYS[1], 'p' .. bucket) or '') then
    redis.call('HSET', KEYS[1], 'p' .. bucket, ARGV[4])
  end
end
for i = 4 + 2 * ARGV[8], #KEYS do redis.call('DEL', KEYS[i]) end
local event = string.format('%.0f', redis.call('HINCRBY', KEYS[1], 'events', 1))
redis.call('XADD', KEYS[3], 'MAXLEN', '~', ARGV[7], event .. '-0', 'g', generation, 'e', ARGV[6])
redis.call('PUBLISH', ARGV[5], 'i ' .. generation .. ' ' .. event .. ' ' .. ARGV[6])
return {generation, event}
