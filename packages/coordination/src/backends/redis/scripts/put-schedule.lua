-- Adds or replaces a schedule.
-- KEYS and ARGV 1 and 2: see task-steps.lua. ARGV: 3 name, 4 spec (JSON text), 5 next tick in ms or '', 6 1 when a next tick
--   that is there stays. Result: the next tick, or ''.
local nextAt = ARGV[5]
if ARGV[6] == '1' then
  local known = redis.call('HGET', P .. 'h', ARGV[3])
  if known then nextAt = string.match(known, '^(%d*) ') end
end
redis.call('HSET', P .. 'h', ARGV[3], nextAt .. ' ' .. ARGV[4])
return nextAt
