-- Finds or begins the state of one partition of a cache.
-- KEYS: 1 state (hash), 2 generation (string), 3 log of events (stream).
-- ARGV: 1 incarnation of the server, 2 a new generation, 3 channel.
-- Result: generation, number of the last event, server's ms.
-- Invariant: a generation never outlives the server's incarnation in which it began. A restart or a promotion
--   may have brought entries back that were invalidated, so what is stored under an older generation is nothing.
local state = redis.call('HMGET', KEYS[1], 'generation', 'incarnation', 'events')
local generation, events = state[1], state[3]
if not generation or state[2] ~= ARGV[1] then
  generation, events = ARGV[2], '0'
  redis.call('DEL', KEYS[1], KEYS[3])
  redis.call('HSET', KEYS[1], 'generation', generation, 'incarnation', ARGV[1], 'seq', '0', 'events', '0', 'want', '0')
  redis.call('PUBLISH', ARGV[3], 'r ' .. generation)
end
redis.call('SET', KEYS[2], generation)
local time = redis.call('TIME')
return {generation, events, string.format('%.0f', time[1] * 1000 + time[2] / 1000)}
