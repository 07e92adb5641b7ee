-- Adds tasks of one type, priority and delay that have neither group nor keys and wait for nothing: the fast way.
-- KEYS and ARGV 1 and 2: see task-steps.lua. ARGV: 3 priority and type as in `y`, 4 delay in microseconds, 5 1 when the
--   caller chose the ids (then one that is there already is left out), 6 what of each lies between its enqueueing time
--   and its payload, 7… id and payload, or where that is.
-- Result: how many were added.
-- Invariant: ids that the caller did not choose count up.
local count = (#ARGV - 6) / 2
local place = redis.call('INCRBY', P .. 'seq', count) - count
local head = string.format('%016.0f', now) .. ARGV[6]
local dueAt = whole(now + ARGV[4])
local tasks, lane, seen, added, beside = {}, {}, {}, 0, 0
local hash, page, span
local makesSpans = ARGV[5] == '0' and ARGV[4] == '0'

local function flush()
  if #tasks == 0 then return end
  redis.call('HSET', hash, unpack(tasks))
  if page then redis.call('SADD', P .. 'tp', page) end
  if span then
    local size = #tasks / 2
    lane = {dueAt, size == 1 and span or span .. '\0' .. size}
    beside = beside + size - 1
  end
  redis.call('ZADD', P .. 'r:' .. ARGV[3], unpack(lane))
  tasks, lane, span = {}, {}, nil
end

for index = 7, #ARGV, 2 do
  local id = ARGV[index]
  place = place + 1
  if ARGV[5] == '0' or not (seen[id] or hasTask(id)) then
    local ownHash, ownPage = hashOf(id)
    if ownHash ~= hash or #tasks > 2000 then
      flush()
      hash, page = ownHash, ownPage
    end
    local line = string.format('%014d', place)
    local size = #tasks
    tasks[size + 1], tasks[size + 2] = id, line .. head .. ARGV[index + 1]
    if makesSpans and page then span = span or line .. id
    else
      seen[id] = true
      lane[size + 1], lane[size + 2] = dueAt, line .. id
    end
    added = added + 1
  end
end
flush()
if beside > 0 then redis.call('HINCRBY', P .. 'x', ARGV[3], beside) end
redis.call('SADD', P .. 'y', ARGV[3])
if ARGV[1] ~= '' then redis.call('PUBLISH', ARGV[1], ARGV[2]) end
return tostring(added)
