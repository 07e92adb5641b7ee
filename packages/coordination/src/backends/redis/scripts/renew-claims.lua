-- Extends claims that their token still holds, lapsed or not.
-- KEYS and ARGV 1 and 2: see task-steps.lua. ARGV: 3 lease in microseconds, 4… id and token of each claim.
-- Result: renewed, cancelled or lost for each.
local ends = whole(now + ARGV[3])
local result = {}
for at = 4, #ARGV, 2 do
  local claim = redis.call('HGET', P .. 'c', ARGV[at])
  local prefix = ARGV[at + 1] .. ' '
  if claim and string.sub(claim, 3, 2 + #prefix) == prefix then
    redis.call('ZADD', P .. 'l', ends, ARGV[at])
    result[#result + 1] = 'renewed'
  else
    local status = not claim and statusOf(ARGV[at])
    local isCancelled = status and status.s == 'cancelled' and status.k == ARGV[at + 1]
    result[#result + 1] = isCancelled and 'cancelled' or 'lost'
  end
end
return result
