-- Adds tasks of one type, priority and delay that have neither group nor keys and wait for nothing: the fast way.
-- KEYS and ARGV 1 and 2: see task-steps.lua. ARGV: 3 priority and type as in `y`, 4 delay in microseconds, 5 1 when the
--   caller chose the ids (then one that is there already is left out), 6 what of each lies between its enqueueing time
--   and its payload, 7… id and payload, or where that is.
-- Result: how many were added.
local count = (#ARGV - 6) / 2
local place = redis.call('INCRBY', P .. 'seq', count) - count
local head = string.format('%016.0f', now) .. ARGV[6]
local dueAt = whole(now + ARGV[4])
local tasks, lane, seen, added = {}, {}, {}, 0
local function flush()
  if #tasks == 0 then return end
  redis.call('HSET', P .. 't', unpack(tasks))
  redis.call('ZADD', P .. 'r:' .. ARGV[3], unpack(lane))
  tasks, lane = {}, {}
end
for index = 7, #ARGV, 2 do
  local id = ARGV[index]
  place = place + 1
  if ARGV[5] == '0' or not (seen[id] or redis.call('HEXISTS', P .. 't', id) == 1) then
    if ARGV[5] == '1' then seen[id] = true end
    local line = string.format('%014d', place)
    local size = #tasks
    tasks[size + 1], tasks[size + 2] = id, line .. head .. ARGV[index + 1]
    lane[size + 1], lane[size + 2] = dueAt, line .. id
    added = added + 1
    if size >= 2000 then flush() end
  end
end
flush()
redis.call('SADD', P .. 'y', ARGV[3])
if ARGV[1] ~= '' then redis.call('PUBLISH', ARGV[1], ARGV[2]) end
return tostring(added)
