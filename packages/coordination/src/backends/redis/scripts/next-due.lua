-- How long until a pending task may be claimed or a claim lapses.
-- KEYS and ARGV 1 and 2: see task-steps.lua, after which comes claim-limits.lua. Result: milliseconds, or '' when
--   there is neither.
local opensAt, isShut = 0, settings and (settings.paused or slotsLeft() < 1)
if settings and settings.count then
  local left = tokensLeft()
  if left < 1 then opensAt = now + (1 - left) * settings.per / settings.count end
end
local next
if not isShut then
  for _, lane in ipairs(redis.call('SMEMBERS', P .. 'y')) do
    local first = redis.call('ZRANGE', P .. 'r:' .. lane, 0, 0, 'WITHSCORES')[2]
    if first then next = math.min(next or math.huge, math.max(opensAt, tonumber(first)))
    else redis.call('SREM', P .. 'y', lane) end
  end
end
local lapse = redis.call('ZRANGE', P .. 'l', 0, 0, 'WITHSCORES')[2]
if lapse then next = math.min(next or math.huge, tonumber(lapse)) end
return next and string.format('%.3f', math.max(0, next - now) / 1000) or ''
