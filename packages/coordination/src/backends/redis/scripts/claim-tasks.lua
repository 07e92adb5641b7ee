-- Takes due tasks for a worker.
-- KEYS and ARGV 1 and 2: see task-steps.lua, after which come claim-limits.lua and due-tasks.lua. ARGV: 3 most tasks,
--   4 worker, 5 lease in microseconds, 6 the priorities as digits, 7… types, or none for all.
-- Result: {} or the token of the claims, then id, attempt and task of each in claim order: priority, due time, enqueueing.
--   When payloads of these lie apart, last of all an array of these in the same order: how many, and so many with a line
--   feed between them; again and again.
-- Invariant: tokens grow, also after a failover that lost the last of them, because they follow the clock
--   (microseconds) wherever it is ahead of the counter.
local room = roomFor(tonumber(ARGV[3]))
if room < 1 then return {} end

-- With limits per key more are looked at than there is room for, because some may be passed over.
local function dueNow(lanes) return dueOf(lanes, hasKeyLimits and room + 10000 or room) end

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

-- What is to be read of payloads that lie apart; those that lie one behind the other are read at once.
local runs, run = {}, nil
-- Notes where the payload of a task lies, if apart. Returns REF.
local function fetch(task)
  local from, to, ref = pieceOf(task)
  if not ref then return end
  if run and run.ref == ref and tonumber(from) == run.to + 2 then run.count, run.to = run.count + 1, to
  else
    run = {ref = ref, from = from, to = to, count = 1}
    runs[#runs + 1] = run
  end
  return ref
end
local function readPayloads()
  local payloads = {}
  for _, part in ipairs(runs) do
    payloads[#payloads + 1] = part.count
    payloads[#payloads + 1] = redis.call('GETRANGE', P .. 'd:' .. part.ref, part.from, part.to)
  end
  return payloads
end

local function writeClaims()
  if #claims == 0 then return end
  redis.call('HSET', P .. 'c', unpack(claims))
  redis.call('ZADD', P .. 'l', unpack(leases))
  claims, leases = {}, {}
end
-- Claims a task. `meta` is what is known of it, when it has been read before.
local function claim(id, task, status, meta)
  if not token then
    token = whole(math.max(tonumber(redis.call('GET', P .. 'token') or '0') + 1, now))
    redis.call('SET', P .. 'token', token)
    result[1] = token
  end
  local attempt = status and tostring(cmsgpack.unpack(status).a + 1) or '1'
  local size = #result
  result[size + 1], result[size + 2], result[size + 3] = id, attempt, task
  local ref = hasPieces and fetch(task)
  size = #claims
  claims[size + 1] = id
  claims[size + 2] = string.sub(task, 32, 33) .. token .. ' ' .. attempt .. ' ' .. ARGV[4] .. (ref and '\0' .. ref or '')
  leases[size + 1], leases[size + 2] = until_, id
  if size >= 2000 then writeClaims() end
  if string.sub(task, 33, 33) == '1' then
    local limitKey = (meta or metaOf(task)).l
    if limitKey then redis.call('HINCRBY', P .. 'q', limitKey, 1) end
  end
  room = room - 1
end

local lost = 0
for priority = 3, 0, -1 do
  local lanes = string.find(ARGV[6], priority, 1, true) and lanesByPriority[priority] or {}
  while room > 0 and #lanes > 0 do
    local ids, entries, laneOf = dueNow(lanes)
    if #ids == 0 then break end
    -- Without limits per key the first ones of a lane are taken, without a gap, and removed at once.
    local single, gone = #lanes == 1 and not hasKeyLimits and lanes[1], 0
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
        local task = tasks[index - start + 1]
        local meta = task and hasKeyLimits and string.sub(task, 33, 33) == '1' and metaOf(task)
        local limitKey = meta and meta.l
        if not task then
          -- Its body is gone: evicted or damaged. It can never run, so it must not stand in the way.
          leave(index)
          lost = lost + 1
        elseif not limitKey or keyRoomOf(limitKey) >= 1 then
          if limitKey then takeOfKey(limitKey) end
          claim(ids[index], task, statuses and statuses[index - start + 1], meta)
          leave(index)
        end
      end
      if room < 1 then break end
    end
    if gone > 0 then redis.call('ZREMRANGEBYRANK', single, 0, gone - 1) end
    shortenSpans()
    -- Where everything due was seen there is no more to see.
    if hasKeyLimits or lost == 0 then break end
    lost = 0
  end
  if room < 1 then break end
end
writeClaims()
countSpans()
spend((#result - 1) / 3)
if #runs > 0 then result[#result + 1] = readPayloads() end
return result
