-- Ends claims that their token holds: back to pending after a wait, or to dead letter.
-- KEYS and ARGV 1 and 2: see task-steps.lua. ARGV: 3 failures kept, then for each claim id, token, error (JSON text),
--   1 to retry, wait in ms or '' for the backoff, chance in [0, 1) (jitter), 1 to give the attempt back (without a
--   wait with its place, before what was enqueued after it).
-- Result: for each claim outcome, attempt and wait in ms.
local function backoffMs(plan, attempt, chance, lastMs)
  local kind, base, factor, cap, jitter = 'exponential', 1000, 2, 60000, 'half'
  if plan then kind, base, factor, cap, jitter = plan[1], plan[2], plan[3], plan[4], plan[5] end
  if kind == 'decorrelated' then
    return math.min(cap, base + chance * (3 * math.max(base, lastMs or base) - base))
  end
  local step = math.min(math.max(attempt - 1, 0), 100)
  local ceiling
  if kind == 'exponential' then ceiling = base * factor ^ step
  elseif kind == 'linear' then ceiling = base * (1 + factor * step)
  else ceiling = base * math.floor(((1 + math.sqrt(5)) / 2) ^ (step + 1) / math.sqrt(5) + 0.5) end
  ceiling = math.min(cap, ceiling)
  if jitter == 'none' then return ceiling end
  return ceiling * (jitter == 'full' and 1 - chance or 1 - chance / 2)
end

local result = {}
for at = 4, #ARGV, 7 do
  local id = ARGV[at]
  local claim = claimOf(id)
  if not claim or claim.token ~= ARGV[at + 1] then
    result[#result + 1] = {'stale', '0', '0'}
  else
    local task = readTask(id)
    local meta = metaOf(task)
    local status = statusOf(id) or {}
    local isUncounted = ARGV[at + 6] == '1'
    local attempt = isUncounted and claim.attempt - 1 or claim.attempt
    addFailure(status, claim.attempt, claim.worker, ARGV[at + 2], tonumber(ARGV[3]))
    if ARGV[at + 3] ~= '1' or attempt >= meta.m then
      bury(id, task, meta, status, attempt, claim.worker)
      result[#result + 1] = {'dead', tostring(attempt), '0'}
    elseif isUncounted and ARGV[at + 4] == '' then
      status.d = 0
      giveBack(id, task, meta, status, attempt, enqueuedAt(task))
      result[#result + 1] = {'retrying', tostring(attempt), '0'}
    else
      local wait = tonumber(ARGV[at + 4]) or backoffMs(meta.b, claim.attempt, tonumber(ARGV[at + 5]), status.d)
      status.d = wait
      giveBack(id, task, meta, status, attempt, now + wait * 1000)
      result[#result + 1] = {'retrying', tostring(attempt), string.format('%.3f', wait)}
    end
  end
end
wake()
return result
