-- Takes a lease when it is free, or finds the grant of the same request again; else may keep a place in its line.
-- KEYS: 1 the leases (hash), which holds three kinds of fields:
--   a lease's name: {end in µs, token, request id, 1 when its release shall be told, owner, metadata} as MessagePack;
--   NUL and a name: who waits in line for that lease, in order, each {request id, place kept until µs, inbox,
--     term in µs, owner, metadata}; the empty name: the last token.
-- ARGV: 1 name, 2 TTL in ms, 3 request id or "", 4 owner, 5 metadata (JSON), 6 "1" to mark a held lease so that its
--   release is told, or nothing; for a place in line also: 7 inbox, 8 for how many ms the place is kept, 9 term in
--   ms of a lease that is handed over, 10 the longest line.
-- Result: the token when granted, {owner, token, remaining ms, metadata, now in µs} when held.
-- Invariant: tokens grow, also after a failover that lost the last of them, because they follow the clock
--   (microseconds) wherever it is ahead of the counter.
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local known = redis.call('HMGET', KEYS[1], '', ARGV[1])
local token, told = nil, 0
local line = ARGV[7] and (redis.call('HGET', KEYS[1], '\0' .. ARGV[1]) or false)
if known[2] then
  local held = cmsgpack.unpack(known[2])
  if ARGV[3] ~= '' and held[3] == ARGV[3] then
    token, told = held[2], held[4]
  elseif held[1] > now then
    if ARGV[6] == '1' and held[4] == 0 then
      held[4] = 1
      redis.call('HSET', KEYS[1], ARGV[1], cmsgpack.pack(held))
    end
    if ARGV[7] then
      local kept, own = {}, nil
      for _, place in ipairs(line and cmsgpack.unpack(line) or {}) do
        if place[1] == ARGV[3] then own = place end
        if place[1] == ARGV[3] or place[2] > now then kept[#kept + 1] = place end
      end
      if not own and #kept < tonumber(ARGV[10]) then
        own = {ARGV[3], 0, ARGV[7], ARGV[9] * 1000, ARGV[4], ARGV[5]}
        kept[#kept + 1] = own
      end
      if own then own[2] = now + ARGV[8] * 1000 end
      redis.call('HSET', KEYS[1], '\0' .. ARGV[1], cmsgpack.pack(kept))
    end
    return {held[5], held[2], string.format('%.3f', (held[1] - now) / 1000), held[6], string.format('%.0f', now)}
  end
end
if line then
  local kept = {}
  for _, place in ipairs(cmsgpack.unpack(line)) do
    if place[1] ~= ARGV[3] then kept[#kept + 1] = place end
  end
  redis.call('HSET', KEYS[1], '\0' .. ARGV[1], cmsgpack.pack(kept))
end
local lease = {now + ARGV[2] * 1000, token, ARGV[3], told, ARGV[4], ARGV[5]}
if token then
  redis.call('HSET', KEYS[1], ARGV[1], cmsgpack.pack(lease))
else
  token = string.format('%.0f', math.max((known[1] or 0) + 1, now))
  lease[2] = token
  redis.call('HSET', KEYS[1], '', token, ARGV[1], cmsgpack.pack(lease))
end
return token
