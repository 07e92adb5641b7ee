-- Deletes tasks that finished long ago, oldest first.
-- KEYS and ARGV 1 and 2: see task-steps.lua. ARGV: 3 age in ms, 4 most tasks, 5… states. Result: the count.
local count = 0
local before = '(' .. whole(now - ARGV[3] * 1000)
for at = 5, #ARGV do
  local room = ARGV[4] - count
  if room < 1 then break end
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', P .. 'f:' .. ARGV[at], '-inf', before, 'LIMIT', 0, room)) do
    local task = readTask(id)
    if task then forget(id, task, metaOf(task), ARGV[at])
    else redis.call('ZREM', P .. 'f:' .. ARGV[at], id) end
    count = count + 1
  end
end
wake()
return tostring(count)
