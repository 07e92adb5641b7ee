-- Stores a loaded value, unless an invalidation came since its ticket was taken.
-- KEYS: 1 state, 2 entry, 3 lease, then the tags.
-- ARGV: 1 generation, 2 token, 3 tag stamps, 4 bucket of the key, 5 epoch and 6 position where it was read ("" for
--   the primary), 7 payload, 8 ms of freshness, 9 ms to keep it, 10 ms to keep tags, 11 channel, 12 key.
-- Result: "stored", "overtaken", "behind" or "generation".
-- Invariant: stored only if the ticket's own lease is still there (an invalidation takes it away), or nothing of
--   the key's bucket was invalidated since; and the tags have the stamps of before the load; and a replica's
--   position is not below what was invalidated.
local state = redis.call('HMGET', KEYS[1], 'generation', 's' .. ARGV[4], 'p' .. ARGV[4], 'base', 'epoch')
if state[1] ~= ARGV[1] then return 'generation' end
local lease = redis.call('GET', KEYS[3])
local waited = lease and string.sub(lease, -1) == 'w'
local own = ARGV[1] .. ' ' .. ARGV[2]
local isOwn = lease == own or lease == own .. 'w'
local function refuse(why)
  if isOwn then redis.call('DEL', KEYS[3]) end
  if waited then redis.call('PUBLISH', ARGV[11], 'f ' .. ARGV[12]) end
  return why
end
if not isOwn and tonumber(state[2] or '0') > tonumber(ARGV[2]) then return refuse('overtaken') end
local stamps = {}
for i = 4, #KEYS do
  local stamp = redis.call('GET', KEYS[i])
  if not stamp then return refuse('overtaken') end
  stamps[#stamps + 1] = stamp
  redis.call('PEXPIRE', KEYS[i], ARGV[10])
end
if (#stamps == 0 and '-' or table.concat(stamps, ',')) ~= ARGV[3] then return refuse('overtaken') end
if ARGV[6] ~= '' then
  -- Positions are padded to one length, so they compare as text.
  if not state[4] or state[5] ~= ARGV[5] then return refuse('behind') end
  if ARGV[6] < state[4] or ARGV[6] < (state[3] or '') then return refuse('behind') end
end
local time = redis.call('TIME')
local fresh = string.format('%.0f', time[1] * 1000 + time[2] / 1000 + ARGV[8])
local stamp = tostring(redis.call('HINCRBY', KEYS[1], 'seq', 1))
redis.call('SET', KEYS[2], ARGV[1] .. ' ' .. ARGV[3] .. ' ' .. stamp .. ' ' .. fresh .. ' ' .. ARGV[7], 'PX', ARGV[9])
if isOwn then redis.call('DEL', KEYS[3]) end
if waited then redis.call('PUBLISH', ARGV[11], 'f ' .. ARGV[12]) end
return 'stored'
