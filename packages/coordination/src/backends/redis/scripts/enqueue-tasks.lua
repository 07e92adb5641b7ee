-- Adds tasks, leaving out those whose id or dedupe key is there already.
-- KEYS and ARGV 1 and 2: see task-steps.lua. ARGV: 3… for each task what `enqueue` there asks for.
-- Result: the id of each task, or of the one that was in its way.
local result = enqueue(3)
wake()
return result
