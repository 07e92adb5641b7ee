-- Invalidates one key and stores what its writer committed, unless another change came after the writer's ticket.
-- KEYS: 1 state, 2 log of events (stream), 3 entry, 4 lease, then the tags.
-- ARGV: 1 generation, 2 token and 3 tag stamps of the ticket, 4 bucket of the key, 5 epoch and 6 position of the
--   change ("" when unknown), 7 payload, 8 ms of freshness, 9 ms to keep it, 10 ms to keep tags, 11 channel,
--   12 the event (JSON), 13 events kept.
-- Result: {"generation"}; {"stored" or "overtaken", number of the event}.
-- Invariant: of two writers whose commits are ordered by a row lock, the later one's ticket is the later one, so
--   its value stays; writers that are not ordered leave no value.
local state = redis.call('HMGET', KEYS[1], 'generation', 's' .. ARGV[4], 'p' .. ARGV[4], 'epoch')
if state[1] ~= ARGV[1] then return {'generation'} end
if ARGV[5] == '' or ARGV[5] ~= state[4] then
  redis.call('HDEL', KEYS[1], 'base')
  redis.call('HINCRBY', KEYS[1], 'want', 1)
elseif ARGV[6] > (state[3] or '') then
  redis.call('HSET', KEYS[1], 'p' .. ARGV[4], ARGV[6])
end
local stamps = {}
for i = 5, #KEYS do
  stamps[#stamps + 1] = redis.call('GET', KEYS[i]) or ''
  redis.call('PEXPIRE', KEYS[i], ARGV[10])
end
local isLast = tonumber(state[2] or '0') < tonumber(ARGV[2])
  and (#stamps == 0 and '-' or table.concat(stamps, ',')) == ARGV[3]
local stamp = redis.call('HINCRBY', KEYS[1], 'seq', 1)
redis.call('HSET', KEYS[1], 's' .. ARGV[4], stamp)
redis.call('DEL', KEYS[3], KEYS[4])
if isLast then
  local time = redis.call('TIME')
  local fresh = string.format('%.0f', time[1] * 1000 + time[2] / 1000 + ARGV[8])
  redis.call('SET', KEYS[3], ARGV[1] .. ' ' .. ARGV[3] .. ' ' .. stamp .. ' ' .. fresh .. ' ' .. ARGV[7], 'PX', ARGV[9])
end
local event = string.format('%.0f', redis.call('HINCRBY', KEYS[1], 'events', 1))
redis.call('XADD', KEYS[2], 'MAXLEN', '~', ARGV[13], event .. '-0', 'g', ARGV[1], 'e', ARGV[12])
redis.call('PUBLISH', ARGV[11], 'i ' .. ARGV[1] .. ' ' .. event .. ' ' .. ARGV[12])
return {isLast and 'stored' or 'overtaken', event}
