-- Puts dead tasks back to pending with fresh attempts and their history.
-- KEYS and ARGV 1 and 2: see task-steps.lua. ARGV: 3… ids. Result: the ids that were put back.
-- Invariant: a task whose dedupe key a living one has stays dead.
local result = {}
for at = 3, #ARGV do
  local id = ARGV[at]
  local status = statusOf(id)
  if status and status.s == 'dead' then
    local task = readTask(id)
    local meta = metaOf(task)
    if not meta.k or redis.call('HSETNX', P .. 'k', meta.k, id) == 1 then
      status.s, status.a, status.w, status.f = nil, 0, nil, nil
      setStatus(id, status)
      redis.call('ZREM', P .. 'f:dead', id)
      makePending(id, task, meta, now)
      result[#result + 1] = id
    end
  end
end
wake()
return result
