-- Takes due tasks for a worker.
-- KEYS and ARGV 1 and 2: see task-steps.lua. ARGV: 3 most tasks, 4 worker, 5 lease in microseconds, 6 the priorities as
--   digits, 7… types, or none for all.
-- Result: {} or the token of the claims, then id, attempt and task of each in claim order: priority, due time, enqueueing.
--   When payloads of these lie apart, last of all an array of these in the same order: how many, and so many with a line
--   feed between them; again and again.
-- Invariant: tokens grow, also after a failover that lost the last of them, because they follow the clock
--   (microseconds) wherever it is ahead of the counter.
local room = tonumber(ARGV[3])
local settings, perKey
if redis.call('EXISTS', P .. 'o') == 1 then
  local flat = redis.call('HGETALL', P .. 'o')
  settings = {}
  for index = 1, #flat, 2 do settings[flat[index]] = flat[index + 1] end
  if settings.paused then return {} end
  if settings.concurrency then room = math.min(room, settings.concurrency - redis.call('ZCARD', P .. 'l')) end
  if settings.count then
    settings.left = math.min(settings.count, (settings.tokens or settings.count)
      + math.max(0, now - (settings.at or now)) * settings.count / settings.per)
    -- The clock was set back: from here on it refills again.
    if settings.at and tonumber(settings.at) > now then redis.call('HSET', P .. 'o', 'at', whole(now)) end
    room = math.min(room, math.floor(settings.left))
  end
  perKey = settings.keyConcurrency or settings.keyCount
end
if room < 1 then return {} end

-- With limits per key more are looked at than there is room for, because some may be passed over.
local reach = perKey and room + 10000 or room
local DIGITS = {}
for digit = 0, 35 do DIGITS[digit] = string.sub('0123456789abcdefghijklmnopqrstuvwxyz', digit + 1, digit + 1) end

-- The due tasks of a lane in order: their ids, what in the lane stands for each (a member or a span) and, where lanes
-- are to be merged, their places in line and due times.
local function dueIn(lane, merges)
  local ids, entries, places, dues, from = {}, {}, {}, {}, 0
  repeat
    -- Where there are spans, a few of them are enough.
    local most = math.min(reach - #ids, from == 0 and 32 or 5000)
    local members = redis.call('ZRANGEBYSCORE', lane, '-inf', whole(now), 'LIMIT', from, most)
    for _, member in ipairs(members) do
      local before = #ids
      if string.byte(member, 45) == 0 then
        local first, count = tonumber(string.sub(member, 43, 44), 36), tonumber(string.sub(member, 46))
        local span = {lane = lane, member = member, page = string.sub(member, 15, 42), first = first, count = count, taken = 0}
        for number = first, first + math.min(count, reach - before) - 1 do
          ids[#ids + 1] = span.page .. DIGITS[math.floor(number / 36)] .. DIGITS[number % 36]
          entries[#ids] = span
        end
      else ids[before + 1], entries[before + 1] = string.sub(member, 15), member end
      if merges then
        local place, due = tonumber(string.sub(member, 1, 14)), tonumber(redis.call('ZSCORE', lane, member))
        for index = before + 1, #ids do places[index], dues[index] = place + index - before - 1, due end
      end
      if #ids >= reach then break end
    end
    from = from + #members
  until #members < most or #ids >= reach
  return ids, entries, places, dues
end

-- The due tasks of one priority in order: ids, entries, and the lane of each where there are several.
local function dueOf(lanes)
  if #lanes == 1 then return dueIn(lanes[1], false) end
  local found = {}
  for _, lane in ipairs(lanes) do
    local ids, entries, places, dues = dueIn(lane, true)
    for index, id in ipairs(ids) do found[#found + 1] = {dues[index], places[index], id, entries[index], lane} end
  end
  table.sort(found, function(a, b)
    if a[1] ~= b[1] then return a[1] < b[1] end
    return a[2] < b[2]
  end)
  local ids, entries, laneOf = {}, {}, {}
  for index, task in ipairs(found) do ids[index], entries[index], laneOf[index] = task[3], task[4], task[5] end
  return ids, entries, laneOf
end

local begun, beside = {}, {}
-- Counts a task of a span as taken. True when it was the last.
local function advance(span)
  span.taken = span.taken + 1
  if span.taken == span.count then begun[span] = nil return true end
  begun[span] = true
  beside[span.lane] = (beside[span.lane] or 0) + 1
end
-- Puts what is left of spans in their place.
local function shorten()
  for span in pairs(begun) do
    local number, left = span.first + span.taken, span.count - span.taken
    local member = string.format('%014d', string.sub(span.member, 1, 14) + span.taken)
      .. span.page .. DIGITS[math.floor(number / 36)] .. DIGITS[number % 36]
    if left > 1 then member = member .. '\0' .. left end
    redis.call('ZADD', span.lane, redis.call('ZSCORE', span.lane, span.member), member)
    redis.call('ZREM', span.lane, span.member)
  end
  begun = {}
end

local keyRooms = {}
local function keyRoomOf(limitKey)
  local left = keyRooms[limitKey]
  if left then return left end
  left = room
  if settings.keyConcurrency then
    left = math.min(left, settings.keyConcurrency - (redis.call('HGET', P .. 'q', limitKey) or 0))
  end
  if settings.keyCount then
    local bucket = redis.call('HGET', P .. 'b', limitKey)
    local tokens, at = tonumber(settings.keyCount), now
    if bucket then
      tokens, at = string.match(bucket, '^(%S+) (%S+)$')
      if tonumber(at) > now then redis.call('HSET', P .. 'b', limitKey, tokens .. ' ' .. whole(now)) end
      tokens = math.min(settings.keyCount, tokens + math.max(0, now - at) * settings.keyCount / settings.keyPer)
    end
    left = math.min(left, math.floor(tokens))
  end
  return left
end

local lanesByPriority = {}
if #ARGV >= 7 then
  for priority = 0, 3 do
    lanesByPriority[priority] = {}
    local seen = {}
    for index = 7, #ARGV do
      if not seen[ARGV[index]] then
        seen[ARGV[index]] = true
        table.insert(lanesByPriority[priority], P .. 'r:' .. priority .. ':' .. ARGV[index])
      end
    end
  end
else
  for priority = 0, 3 do lanesByPriority[priority] = {} end
  for _, lane in ipairs(redis.call('SMEMBERS', P .. 'y')) do
    table.insert(lanesByPriority[tonumber(string.sub(lane, 1, 1))], P .. 'r:' .. lane)
  end
end

local result, claims, leases, token = {}, {}, {}, nil
local until_ = whole(now + ARGV[5])
local hasStatuses = redis.call('EXISTS', P .. 's') == 1
local hasPieces = redis.call('EXISTS', P .. 'n') == 1
local runs, run = {}, nil
local lost = 0
for priority = 3, 0, -1 do
  local lanes = string.find(ARGV[6], priority, 1, true) and lanesByPriority[priority] or {}
  while room > 0 and #lanes > 0 do
    local ids, entries, laneOf = dueOf(lanes)
    if #ids == 0 then break end
    -- Without limits per key the first ones of a lane are taken, without a gap, and removed at once.
    local single, gone = #lanes == 1 and not perKey and lanes[1], 0
    local function leave(index)
      local entry = entries[index]
      if type(entry) == 'table' then
        if not advance(entry) then return end
        entry = entry.member
      end
      if single then gone = gone + 1
      else redis.call('ZREM', laneOf[index] or lanes[1], entry) end
    end
    for start = 1, #ids, 1000 do
      local stop = math.min(#ids, start + 999)
      local tasks = readTasks(ids, start, stop)
      local statuses = hasStatuses and redis.call('HMGET', P .. 's', unpack(ids, start, stop))
      for index = start, stop do
        if room < 1 then break end
        local id, task, status = ids[index], tasks[index - start + 1], statuses and statuses[index - start + 1]
        local meta = task and settings and perKey and string.sub(task, 33, 33) == '1' and metaOf(task)
        local limitKey = meta and meta.l
        if not task then
          -- Its body is gone: evicted or damaged. It can never run, so it must not stand in the way.
          leave(index)
          lost = lost + 1
        elseif not limitKey or keyRoomOf(limitKey) >= 1 then
          if limitKey then keyRooms[limitKey] = keyRoomOf(limitKey) - 1 end
          if not token then
            token = whole(math.max(tonumber(redis.call('GET', P .. 'token') or '0') + 1, now))
            redis.call('SET', P .. 'token', token)
            result[1] = token
          end
          local attempt = '1'
          if status then attempt = tostring(cmsgpack.unpack(status).a + 1) end
          local size = #result
          result[size + 1], result[size + 2], result[size + 3] = id, attempt, task
          local holder = ARGV[4]
          if hasPieces then
            local from, to, ref = pieceOf(task)
            if ref then
              holder = holder .. '\0' .. ref
              -- Those that lie one behind the other are read at once.
              if run and run.ref == ref and tonumber(from) == run.to + 2 then run.count, run.to = run.count + 1, to
              else
                run = {ref = ref, from = from, to = to, count = 1}
                runs[#runs + 1] = run
              end
            end
          end
          size = #claims
          claims[size + 1] = id
          claims[size + 2] = string.sub(task, 32, 33) .. token .. ' ' .. attempt .. ' ' .. holder
          leases[size + 1], leases[size + 2] = until_, id
          if size >= 2000 then
            redis.call('HSET', P .. 'c', unpack(claims))
            redis.call('ZADD', P .. 'l', unpack(leases))
            claims, leases = {}, {}
          end
          if string.sub(task, 33, 33) == '1' then
            local keys = meta or metaOf(task)
            if keys.l then redis.call('HINCRBY', P .. 'q', keys.l, 1) end
          end
          room = room - 1
          leave(index)
        end
      end
      if room < 1 then break end
    end
    if gone > 0 then redis.call('ZREMRANGEBYRANK', single, 0, gone - 1) end
    shorten()
    -- Where everything due was seen there is no more to see.
    if perKey or lost == 0 then break end
    lost = 0
  end
  if room < 1 then break end
end
if #claims > 0 then
  redis.call('HSET', P .. 'c', unpack(claims))
  redis.call('ZADD', P .. 'l', unpack(leases))
end
for lane, count in pairs(beside) do
  local name = string.sub(lane, #P + 3)
  if redis.call('HINCRBY', P .. 'x', name, -count) <= 0 then redis.call('HDEL', P .. 'x', name) end
end
if settings then
  local count = (#result - 1) / 3
  if settings.count and count > 0 then
    redis.call('HSET', P .. 'o', 'tokens', string.format('%.6f', settings.left - count), 'at', whole(now))
  end
  if settings.keyCount then
    for limitKey, left in pairs(keyRooms) do
      -- What is left after these claims, with the part of a token that was not enough for one.
      local bucket = redis.call('HGET', P .. 'b', limitKey)
      local tokens, at = tonumber(settings.keyCount), now
      if bucket then
        tokens, at = string.match(bucket, '^(%S+) (%S+)$')
        tokens = math.min(settings.keyCount, tokens + math.max(0, now - at) * settings.keyCount / settings.keyPer)
      end
      local spent = 0
      for index = 2, #result, 3 do
        local task = result[index + 2]
        if string.sub(task, 33, 33) == '1' and metaOf(task).l == limitKey then spent = spent + 1 end
      end
      if spent > 0 then redis.call('HSET', P .. 'b', limitKey, string.format('%.6f %.0f', tokens - spent, now)) end
    end
  end
end
if run then
  local payloads = {}
  for _, part in ipairs(runs) do
    payloads[#payloads + 1] = part.count
    payloads[#payloads + 1] = redis.call('GETRANGE', P .. 'd:' .. part.ref, part.from, part.to)
  end
  result[#result + 1] = payloads
end
return result
