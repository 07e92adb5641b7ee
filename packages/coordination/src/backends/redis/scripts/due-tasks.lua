-- The due tasks of lanes in order, whether they stand there one by one or as spans (see task-steps.lua), and how spans are
-- shortened; put after task-steps.lua and before claim-tasks.lua.
local DIGITS = {}
for digit = 0, 35 do DIGITS[digit] = string.sub('0123456789abcdefghijklmnopqrstuvwxyz', digit + 1, digit + 1) end

-- At most `reach` due tasks of a lane: their ids, what in the lane stands for each (a member or a span) and, where lanes
-- are to be merged, their places in line and due times.
local function dueIn(lane, reach, merges)
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
local function dueOf(lanes, reach)
  if #lanes == 1 then return dueIn(lanes[1], reach, false) end
  local found = {}
  for _, lane in ipairs(lanes) do
    local ids, entries, places, dues = dueIn(lane, reach, true)
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
local function shortenSpans()
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
-- Notes how many tasks are in spans beside the first, after all that were taken.
local function countSpans()
  for lane, count in pairs(beside) do
    local name = string.sub(lane, #P + 3)
    if redis.call('HINCRBY', P .. 'x', name, -count) <= 0 then redis.call('HDEL', P .. 'x', name) end
  end
end
