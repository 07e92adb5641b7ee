-- Takes a lease when it is free, or finds the grant of the same request again; else may keep a place in its line.
-- KEYS: 1 the leases (hash), which holds three kinds of fields:
--   a lease's name: token (16 digits), since when it counts in µs (16 digits), then its terms: TTL in ms (8 digits), what
--     its release has to do (0 nothing, 1 tell, 2 hand it on, 3 both), then request id, owner and metadata (JSON) with
--     NUL between them. It is read by place and written as it came, so that taking and freeing it stays cheap;
--   NUL and a name: who waits in line for that lease, in order, each {request id, place kept until µs, inbox, terms of
--     the lease when it is handed over} as MessagePack; the empty name: the last token.
-- ARGV: 1 name, 2 terms, 3 "1" to mark a held lease so that its release is told; for a place in line also: 4 inbox,
--   5 for how many ms the place is kept, 6 TTL of a lease that is handed over (8 digits), 7 the longest line.
-- Result: the token when granted, {owner, token, remaining ms, metadata, now in µs} when held.
-- Invariant: tokens grow, also after a failover that lost the last of them, because they follow the clock
--   (microseconds) wherever it is ahead of the counter. Who waits in line waits for a lease that is on record.
local call, name, terms = redis.call, ARGV[1], ARGV[2]
local time = call('TIME')
-- Put together, not worked out: numbers cost more to print.
local at = time[1] .. string.sub('00000', #time[2]) .. time[2]
local known = call('HMGET', KEYS[1], '', name)
local held = known[2]
if held then
  local now, request = tonumber(at), string.match(terms, '^%Z*', 10)
  local heldBy, owner, metadata = string.match(held, '^(%Z*)%z(%Z*)%z(.*)$', 42)
  -- A record that cannot be read counts as lapsed.
  local ends = (tonumber(string.sub(held, 17, 32)) or 0) + (tonumber(string.sub(held, 33, 40)) or 0) * 1000
  local isOwn = request ~= '' and heldBy == request
  local isBusy = ends > now and not isOwn
  local duty = tonumber(string.sub(held, 41, 41)) or 0
  local line = (ARGV[4] or not isBusy) and call('HGET', KEYS[1], '\0' .. name)
  local kept, own = {}, nil
  for _, place in ipairs(line and cmsgpack.unpack(line) or {}) do
    if place[1] == request then own = place end
    if place[2] > now or (isBusy and place == own) then kept[#kept + 1] = place end
  end
  if isBusy then
    local told, lined = ARGV[3] == '1' or duty % 2 == 1, duty >= 2
    if ARGV[4] then
      if not own and #kept < tonumber(ARGV[7]) then
        own = {request, 0, ARGV[4], ARGV[6] .. string.sub(terms, 9)}
        kept[#kept + 1] = own
      end
      if own then own[2] = now + ARGV[5] * 1000 end
      call('HSET', KEYS[1], '\0' .. name, cmsgpack.pack(kept))
      lined = true
    end
    local due = (told and 1 or 0) + (lined and 2 or 0)
    if due ~= duty then call('HSET', KEYS[1], name, string.sub(held, 1, 40) .. due .. string.sub(held, 42)) end
    return {owner, string.sub(held, 1, 16), string.format('%.3f', (ends - now) / 1000), metadata, at}
  end
  local waiting = {}
  for _, place in ipairs(kept) do
    if place[1] ~= request then waiting[#waiting + 1] = place end
  end
  if #waiting > 0 then call('HSET', KEYS[1], '\0' .. name, cmsgpack.pack(waiting))
  elseif line then call('HDEL', KEYS[1], '\0' .. name) end
  local due = (isOwn and duty % 2 or 0) + (#waiting > 0 and 2 or 0)
  terms = string.sub(terms, 1, 8) .. due .. string.sub(terms, 10)
  if isOwn then
    call('HSET', KEYS[1], name, string.sub(held, 1, 16) .. at .. terms)
    return string.sub(held, 1, 16)
  end
end
local token, last = at, known[1]
-- Digits of one length compare as texts do.
if last and last >= at then token = string.format('%016.0f', (tonumber(last) or at) + 1) end
call('HSET', KEYS[1], '', token, name, token .. at .. terms)
return token
