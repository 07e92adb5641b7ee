-- Deletes all tasks of groups, whatever their state.
-- KEYS and ARGV 1 and 2: see task-steps.lua. ARGV: 3… groups. Result: the count.
local count = 0
for at = 3, #ARGV do
  for _, id in ipairs(redis.call('SMEMBERS', P .. 'g:' .. ARGV[at])) do
    local task = readTask(id)
    if task then
      forget(id, task, metaOf(task), (stateOf(id)))
      count = count + 1
    end
  end
end
wake()
return tostring(count)
