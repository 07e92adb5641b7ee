-- Ends claims whose lease ran out: back to pending, before what was enqueued after them, or to dead letter after the
-- last attempt.
-- KEYS and ARGV 1 and 2: see task-steps.lua. ARGV: 3 most tasks, 4 error (JSON text), 5 failures kept.
-- Result: for each, in the order in which they lapsed: id, group or '', attempt, worker, outcome.
local result = {}
for _, id in ipairs(redis.call('ZRANGEBYSCORE', P .. 'l', '-inf', whole(now), 'LIMIT', 0, ARGV[3])) do
  local claim, task = claimOf(id), readTask(id)
  if not claim or not task then
    -- Half of it was evicted or damaged; what is left of it must not come up for ever.
    redis.call('ZREM', P .. 'l', id)
    redis.call('HDEL', P .. 'c', id)
  else
    local meta = metaOf(task)
    local status = statusOf(id) or {}
    addFailure(status, claim.attempt, claim.worker, ARGV[4], tonumber(ARGV[5]))
    local isDead = claim.attempt >= meta.m
    if isDead then bury(id, task, meta, status, claim.attempt, claim.worker)
    else
      status.d = 0
      giveBack(id, task, meta, status, claim.attempt, enqueuedAt(task))
    end
    result[#result + 1] = {id, meta.g or '', tostring(claim.attempt), claim.worker, isDead and 'dead' or 'retrying'}
  end
end
wake()
return result
