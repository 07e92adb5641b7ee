-- Completes claims that their token holds.
-- KEYS and ARGV 1 and 2: see task-steps.lua. ARGV: 3… id, token and result (JSON text, or '' for none) of each claim.
-- Result: "1" for each that was completed; the others ("0") are stale and unchanged.
local result, plain, kept, ends = {}, {}, {}, {}
local waiting = anyWaiting()
if redis.call('EXISTS', P .. 'o') == 1 then wakes = true end
local hasStatuses = redis.call('EXISTS', P .. 's') == 1
local hasProgress = redis.call('EXISTS', P .. 'p') == 1
local hasPieces = redis.call('EXISTS', P .. 'n') == 1
local finishedAt = whole(now)
for start = 3, #ARGV, 3000 do
  local ids = {}
  for index = start, math.min(#ARGV, start + 2999), 3 do ids[#ids + 1] = ARGV[index] end
  local claims = redis.call('HMGET', P .. 'c', unpack(ids))
  local ended, endedOf, dropped = {}, {}, {}
  plain, kept, ends = {}, {}, {}
  for place, id in ipairs(ids) do
    local claim, at = claims[place], start + (place - 1) * 3
    local prefix = ARGV[at + 1] .. ' '
    if claim and not endedOf[id] and string.sub(claim, 3, 2 + #prefix) == prefix then
      result[#result + 1] = '1'
      ended[#ended + 1] = id
      endedOf[id] = true
      local isKept = string.sub(claim, 1, 1) == '1'
      if isKept then
        local attempt, worker = string.match(claim, '^%d+ (%d+) ([^%z]*)')
        local status = hasStatuses and statusOf(id) or {}
        status.s, status.a, status.w, status.f = 'completed', tonumber(attempt), worker, finishedAt
        if ARGV[at + 2] ~= '' then status.r = ARGV[at + 2] end
        kept[#kept + 1], kept[#kept + 2] = id, cmsgpack.pack(status)
        ends[#ends + 1], ends[#ends + 2] = finishedAt, id
      else
        plain[#plain + 1] = id
        local ref = hasPieces and string.match(claim, '%z(.*)$')
        if ref then dropped[ref] = (dropped[ref] or 0) + 1 end
      end
      if string.sub(claim, 2, 2) == '1' then
        local meta = metaOf(readTask(id))
        freeDedupeKey(id, meta)
        if meta.l and redis.call('HINCRBY', P .. 'q', meta.l, -1) <= 0 then redis.call('HDEL', P .. 'q', meta.l) end
        if meta.g and not isKept then redis.call('SREM', P .. 'g:' .. meta.g, id) end
      end
    else result[#result + 1] = '0' end
  end
  if #ended > 0 then
    redis.call('HDEL', P .. 'c', unpack(ended))
    redis.call('ZREM', P .. 'l', unpack(ended))
  end
  if #kept > 0 then
    redis.call('HSET', P .. 's', unpack(kept))
    redis.call('ZADD', P .. 'f:completed', unpack(ends))
  end
  if #plain > 0 then
    dropTasks(plain)
    if hasStatuses then redis.call('HDEL', P .. 's', unpack(plain)) end
    if hasProgress then redis.call('HDEL', P .. 'p', unpack(plain)) end
  end
  for ref, count in pairs(dropped) do dropPiece(ref, count) end
  if waiting then
    for _, id in ipairs(ended) do release(id, true) end
  end
end
wake()
return result
