-- The schedules of a queue.
-- KEYS and ARGV 1 and 2: see task-steps.lua. Result: the server's time in ms, then next tick in ms or '' and spec of each.
local result = {string.format('%.3f', now / 1000)}
for _, schedule in ipairs(redis.call('HVALS', P .. 'h')) do
  local nextAt, spec = string.match(schedule, '^(%d*) (.*)$')
  result[#result + 1] = nextAt
  result[#result + 1] = spec
end
return result
