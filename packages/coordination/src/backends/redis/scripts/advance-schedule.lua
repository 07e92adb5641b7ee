-- Takes a tick of a schedule and adds its tasks, both or neither.
-- KEYS and ARGV 1 and 2: see task-steps.lua. ARGV: 3 name, 4 the tick in ms, 5 the next one or '', 6… for each task what
--   `enqueue` there asks for. Result: "1" when the tick was there to take.
local schedule = redis.call('HGET', P .. 'h', ARGV[3])
if not schedule then return '0' end
local nextAt, spec = string.match(schedule, '^(%d*) (.*)$')
if nextAt ~= ARGV[4] then return '0' end
redis.call('HSET', P .. 'h', ARGV[3], ARGV[5] .. ' ' .. spec)
enqueue(6)
wake()
return '1'
