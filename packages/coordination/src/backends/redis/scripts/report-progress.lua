-- Records how far claims have come.
-- KEYS and ARGV 1 and 2: see task-steps.lua. ARGV: 3… id, token and progress (JSON text) of each claim.
-- Result: "1" for each claim that its token holds.
local result = {}
for at = 3, #ARGV, 3 do
  local claim = claimOf(ARGV[at])
  local isHeld = claim and claim.token == ARGV[at + 1]
  if isHeld then redis.call('HSET', P .. 'p', ARGV[at], ARGV[at + 2]) end
  result[#result + 1] = isHeld and '1' or '0'
end
return result
