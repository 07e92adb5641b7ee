-- Keys: 1 the reports of all caches. Arguments: 1 seconds after which a report counts no more.
-- Result: for each younger report its age in seconds and its figures. Older ones are removed.
local now = tonumber(redis.call('TIME')[1])
local all = redis.call('HGETALL', KEYS[1])
local found = {}
for i = 1, #all, 2 do
  local at, figures = string.match(all[i + 1], '^(%d+) (.*)$')
  local age = now - tonumber(at)
  if age > tonumber(ARGV[1]) then
    redis.call('HDEL', KEYS[1], all[i])
  else
    found[#found + 1] = tostring(age)
    found[#found + 1] = figures
  end
end
return found
