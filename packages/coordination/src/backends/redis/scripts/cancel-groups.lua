-- Cancels the unfinished tasks of groups.
-- KEYS and ARGV 1 and 2: see task-steps.lua. ARGV: 3… groups. Result: the count.
-- Invariant: the token stays, so that a running claim can be told of it when it renews.
local count = 0
for at = 3, #ARGV do
  for _, id in ipairs(redis.call('SMEMBERS', P .. 'g:' .. ARGV[at])) do
    local state, status = stateOf(id)
    if state == 'waiting' or state == 'pending' or state == 'claimed' then
      local task = readTask(id)
      local meta, claim = metaOf(task), claimOf(id)
      status = status or {a = 0}
      takeOut(id, task, meta, state)
      freeDedupeKey(id, meta)
      status.s, status.f = 'cancelled', whole(now)
      if claim then status.a, status.w, status.k = claim.attempt, claim.worker, claim.token end
      setStatus(id, status)
      redis.call('ZADD', P .. 'f:cancelled', whole(now), id)
      if anyWaiting() then release(id, false) end
      count = count + 1
    end
  end
end
wake()
return tostring(count)
