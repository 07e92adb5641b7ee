-- Forgets leases that lapsed long ago, and lines whose waiters are all gone.
-- KEYS: 1 the leases (hash, see grant-lease.lua). ARGV: 1 cursor, 2 ms that a lapsed lease is kept.
-- Result: the cursor to go on from, "0" when all were looked at.
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local cursor, fields = unpack(redis.call('HSCAN', KEYS[1], ARGV[1], 'COUNT', 200))
for i = 1, #fields, 2 do
  local isLine = string.byte(fields[i]) == 0
  local isOver = fields[i] ~= ''
  if isLine then
    for _, place in ipairs(cmsgpack.unpack(fields[i + 1])) do isOver = isOver and place[2] <= now end
  elseif isOver then
    local since, ttl = string.sub(fields[i + 1], 17, 32), string.sub(fields[i + 1], 33, 40)
    isOver = (tonumber(since) or 0) + ((tonumber(ttl) or 0) + ARGV[2]) * 1000 <= now
  end
  if isOver then redis.call('HDEL', KEYS[1], fields[i]) end
end
return cursor
