-- Takes a lease when it is free, or finds the grant of the same request again; else may keep a place in its line.
-- KEYS: 1 the leases (hash), which holds three kinds of fields:
--   a lease's name: token (16 digits), end in µs (16 digits), 1 when its release shall be told, else 0, then request id,
--     owner and metadata (JSON) with NUL between them: read by place, so that taking and freeing it stays cheap;
--   NUL and a name: who waits in line for that lease, in order, each {request id, place kept until µs, inbox,
--     term in µs, owner, metadata} as MessagePack; the empty name: the last token.
-- ARGV: 1 name, 2 TTL in ms, 3 request id or "", 4 owner, 5 metadata or nothing for null, 6 "1" to mark a held lease so
--   that its release is told; for a place in line also: 7 inbox, 8 for how many ms the place is kept, 9 term in ms of a
--   lease that is handed over, 10 the longest line.
-- Result: the token when granted, {owner, token, remaining ms, metadata, now in µs} when held.
-- Invariant: tokens grow, also after a failover that lost the last of them, because they follow the clock
--   (microseconds) wherever it is ahead of the counter.
local call, name, request = redis.call, ARGV[1], ARGV[3]
local time = call('TIME')
local now = time[1] * 1000000 + time[2]
local known = call('HMGET', KEYS[1], '', name)
local held = known[2]
local token, told = nil, '0'
local line = ARGV[7] and (call('HGET', KEYS[1], '\0' .. name) or false)
if held then
  local heldBy, owner, metadata = string.match(held, '^(%Z*)%z(%Z*)%z(.*)$', 34)
  -- A record that cannot be read counts as lapsed.
  local ends = (tonumber(string.sub(held, 17, 32)) or 0)
  if request ~= '' and heldBy == request then
    token, told = string.sub(held, 1, 16), string.sub(held, 33, 33)
  elseif ends > now then
    if ARGV[6] == '1' and string.byte(held, 33) == 48 then
      call('HSET', KEYS[1], name, string.sub(held, 1, 32) .. '1' .. string.sub(held, 34))
    end
    if ARGV[7] then
      local kept, own = {}, nil
      for _, place in ipairs(line and cmsgpack.unpack(line) or {}) do
        if place[1] == request then own = place end
        if place[1] == request or place[2] > now then kept[#kept + 1] = place end
      end
      if not own and #kept < tonumber(ARGV[10]) then
        own = {request, 0, ARGV[7], ARGV[9] * 1000, ARGV[4], ARGV[5]}
        kept[#kept + 1] = own
      end
      if own then own[2] = now + ARGV[8] * 1000 end
      call('HSET', KEYS[1], '\0' .. name, cmsgpack.pack(kept))
    end
    return {owner, string.sub(held, 1, 16), string.format('%.3f', (ends - now) / 1000), metadata,
      string.format('%.0f', now)}
  end
end
if line then
  local kept = {}
  for _, place in ipairs(cmsgpack.unpack(line)) do
    if place[1] ~= request then kept[#kept + 1] = place end
  end
  call('HSET', KEYS[1], '\0' .. name, cmsgpack.pack(kept))
end
local rest = told .. request .. '\0' .. ARGV[4] .. '\0' .. (ARGV[5] or 'null')
if token then
  call('HSET', KEYS[1], name, token .. string.format('%016.0f', now + ARGV[2] * 1000) .. rest)
  return token
end
local last = tonumber(known[1])
local number = last and last >= now and last + 1 or now
local both = string.format('%016.0f%016.0f', number, now + ARGV[2] * 1000)
token = string.sub(both, 1, 16)
call('HSET', KEYS[1], '', token, name, both .. rest)
return token
