-- What the scripts of task queues share; it is put before each of them.
--
-- KEYS[1] is what comes before the name of every key of the queue. It carries the hash tag, so all of them lie in one slot:
--   seq        the last place in line                     t   id -> task: see below; of ids that callers chose
--   t:PAGE     those with ids of our own that differ in their last two digits only    tp  the pages that there are
--   r:P:TYPE   due time -> place and id of pending tasks  y   the P:TYPE that there are (P: priority, 0 to 3)
--              or of the first of a span: see below       x   P:TYPE -> how many tasks are in spans beside the first
--   d:REF      payloads of tasks that were added together, a line feed between them
--   n          REF -> how many tasks need that yet
--   c          id -> claim: see below                     l   end of lease -> id of claimed tasks
--   s          id -> what became of it (MessagePack), once it failed, was cancelled or is kept completed
--   f:STATE    end -> id of completed, dead and cancelled tasks                  p   id -> progress
--   g:GROUP    ids                 k  dedupe key -> id of the living task        u:KEY  id, for a dedupe window
--   v          id -> how many tasks it waits for          vr  id -> due time of waiting tasks, and which they wait for
--   a:ID       those that wait for a task, each with 1 before it when any end will do, else 0
--   o          settings            q  limit key -> claims    b  limit key -> what is left of its rate
--   h          name -> schedule    token  the last token
-- ARGV[1] is the channel and ARGV[2] what to publish to wake those who wait for tasks.
-- A task is: place in line (14 digits), time of enqueueing (16), priority, 1 when it is kept when completed, 1 when
-- it has a group, a dedupe key or a limit key, what else is known of it as JSON, a line feed, its payload as JSON. In
-- place of a payload that lies apart: `=`, its first and last byte in `d:REF`, REF.
-- A span stands for tasks of one page that were added together without delay, with places and last two digits that count up: place and
-- id of the first, a NUL, how many. They have no keys and no groups, so they leave it by being claimed, in order.
-- A claim is: these last two digits, token, attempt and worker, and where the payload lies apart a NUL and REF.
-- Times are microseconds since the epoch by the server's clock.
local P = KEYS[1] .. ':'
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local wakes = false

-- The hash that a task lies in, and its page when its id is of our own making. A queue may be deep: what was added
-- together is claimed and completed together, and in a hash of its own it is found in the processor's caches.
local others = P .. 't'
local lastHead, lastHash, lastPage
local function hashOf(id)
  if #id ~= 30 or string.byte(id, 28) ~= 46 then return others end
  local head = string.sub(id, 1, 27)
  if head ~= lastHead then
    if string.sub(head, 1, 5) ~= 'task-' then return others end
    lastHead, lastPage = head, string.sub(head, 6)
    lastHash = others .. ':' .. lastPage
  end
  return lastHash, lastPage
end
local function readTask(id) return redis.call('HGET', hashOf(id), id) end
local function hasTask(id) return redis.call('HEXISTS', hashOf(id), id) == 1 end
local function putTask(id, task)
  local hash, page = hashOf(id)
  redis.call('HSET', hash, id, task)
  if page then redis.call('SADD', P .. 'tp', page) end
end
-- Calls `visit` with the hash, the page and the first and last index of each row of ids that lie in one hash.
local function eachHash(ids, from, to, visit)
  local hash, page = hashOf(ids[from])
  for index = from + 1, to do
    local ownHash, ownPage = hashOf(ids[index])
    if ownHash ~= hash then
      visit(hash, page, from, index - 1)
      from, hash, page = index, ownHash, ownPage
    end
  end
  visit(hash, page, from, to)
end
-- Some tasks, a thousand at most; false for those that are not there.
local function readTasks(ids, from, to)
  local tasks = {}
  eachHash(ids, from, to, function(hash, _, first, last)
    local found = redis.call('HMGET', hash, unpack(ids, first, last))
    if last - first == to - from then tasks = found
    else for _, task in ipairs(found) do tasks[#tasks + 1] = task end end
  end)
  return tasks
end
-- Deletes tasks, a thousand at most.
local function dropTasks(ids)
  eachHash(ids, 1, #ids, function(hash, page, first, last)
    redis.call('HDEL', hash, unpack(ids, first, last))
    if page and redis.call('EXISTS', hash) == 0 then redis.call('SREM', P .. 'tp', page) end
  end)
end

local function whole(number) return string.format('%.0f', number) end
local function metaOf(task) return cjson.decode(string.sub(task, 34, string.find(task, '\n', 34, true) - 1)) end
local function statusOf(id)
  local packed = redis.call('HGET', P .. 's', id)
  return packed and cmsgpack.unpack(packed)
end
local function setStatus(id, status) redis.call('HSET', P .. 's', id, cmsgpack.pack(status)) end

-- Where the payload of a task lies when it lies apart: first byte, last byte, REF. Else nothing.
local function pieceOf(task)
  local at = string.find(task, '\n', 34, true)
  if at then return string.match(task, '^=(%d+) (%d+) (.*)$', at + 1) end
end
-- Notes that so many tasks need a piece no longer. One that was not counted (evicted) is left alone.
local function dropPiece(ref, count)
  local left = redis.call('HINCRBY', P .. 'n', ref, -count)
  if left <= 0 then redis.call('HDEL', P .. 'n', ref) end
  if left == 0 then redis.call('DEL', P .. 'd:' .. ref) end
end
-- The task with its payload in it, wherever that lies.
local function wholeOf(task)
  local from, to, ref = pieceOf(task)
  if not ref then return task end
  return string.sub(task, 1, string.find(task, '\n', 34, true)) .. redis.call('GETRANGE', P .. 'd:' .. ref, from, to), ref
end
-- Stores a task that stays longer than those it was added with by itself, so that it does not keep theirs as well.
local function settle(id, task)
  local text, ref = wholeOf(task)
  if ref then
    putTask(id, text)
    dropPiece(ref, 1)
  end
end

local function makePending(id, task, meta, dueAt)
  local lane = string.sub(task, 31, 31) .. ':' .. meta.t
  redis.call('SADD', P .. 'y', lane)
  redis.call('ZADD', P .. 'r:' .. lane, whole(dueAt), string.sub(task, 1, 14) .. id)
  wakes = true
end

-- A claim: is it kept when completed, has it keys, token, attempt, worker. Nothing when the task is not claimed.
local function claimOf(id)
  local claim = redis.call('HGET', P .. 'c', id)
  if not claim then return end
  local keep, keyed, token, attempt, worker = string.match(claim, '^(.)(.)(%d+) (%d+) ([^%z]*)')
  return {keep = keep == '1', keyed = keyed == '1', token = token, attempt = tonumber(attempt), worker = worker}
end

local function endClaim(id, meta)
  redis.call('HDEL', P .. 'c', id)
  redis.call('ZREM', P .. 'l', id)
  if meta.l and redis.call('HINCRBY', P .. 'q', meta.l, -1) <= 0 then redis.call('HDEL', P .. 'q', meta.l) end
  if redis.call('EXISTS', P .. 'o') == 1 then wakes = true end
end

local function freeDedupeKey(id, meta)
  if meta.k and redis.call('HGET', P .. 'k', meta.k) == id then redis.call('HDEL', P .. 'k', meta.k) end
end

-- Tells those that wait for a task that it has ended.
local function release(id, completed)
  for _, entry in ipairs(redis.call('SMEMBERS', P .. 'a:' .. id)) do
    if completed or string.sub(entry, 1, 1) == '1' then
      redis.call('SREM', P .. 'a:' .. id, entry)
      local dependent = string.sub(entry, 2)
      if redis.call('HEXISTS', P .. 'v', dependent) == 1 and redis.call('HINCRBY', P .. 'v', dependent, -1) <= 0 then
        local task = readTask(dependent)
        local dueAt = tonumber(string.match(redis.call('HGET', P .. 'vr', dependent) or '0', '^%d+'))
        redis.call('HDEL', P .. 'v', dependent)
        redis.call('HDEL', P .. 'vr', dependent)
        if task then makePending(dependent, task, metaOf(task), math.max(dueAt, now)) end
      end
    end
  end
end

local function anyWaiting() return redis.call('EXISTS', P .. 'v') == 1 end

-- What a task is now: its state, and its status where it has one.
local function stateOf(id)
  if redis.call('HEXISTS', P .. 'c', id) == 1 then return 'claimed', statusOf(id) end
  if redis.call('HEXISTS', P .. 'v', id) == 1 then return 'waiting', statusOf(id) end
  local status = statusOf(id)
  return status and status.s or 'pending', status
end

-- Takes an unfinished task out of where it waits or runs.
local function takeOut(id, task, meta, state)
  if state == 'claimed' then endClaim(id, meta)
  elseif state == 'waiting' then
    local after = string.match(redis.call('HGET', P .. 'vr', id) or '', ' (.*)$')
    for _, other in ipairs(after and cjson.decode(after) or {}) do
      redis.call('SREM', P .. 'a:' .. other, '0' .. id, '1' .. id)
    end
    redis.call('HDEL', P .. 'v', id)
    redis.call('HDEL', P .. 'vr', id)
  elseif state == 'pending' then
    redis.call('ZREM', P .. 'r:' .. string.sub(task, 31, 31) .. ':' .. meta.t, string.sub(task, 1, 14) .. id)
  end
end

-- Deletes a task, whatever its state. To those that wait for it it has ended well.
local function forget(id, task, meta, state)
  takeOut(id, task, meta, state)
  if state == 'completed' or state == 'dead' or state == 'cancelled' then redis.call('ZREM', P .. 'f:' .. state, id) end
  freeDedupeKey(id, meta)
  if meta.g then redis.call('SREM', P .. 'g:' .. meta.g, id) end
  local _, _, ref = pieceOf(task)
  if ref then dropPiece(ref, 1) end
  dropTasks({id})
  redis.call('HDEL', P .. 's', id)
  redis.call('HDEL', P .. 'p', id)
  if anyWaiting() then release(id, true) end
end

-- Notes a failure in a status; at most `most` are kept.
local function addFailure(status, attempt, worker, errorText, most)
  local failures = status.e or {}
  failures[#failures + 1] = {attempt, whole(now), worker, errorText}
  while #failures > most do table.remove(failures, 1) end
  status.e = failures
end

-- Ends a claim for good: dead.
local function bury(id, task, meta, status, attempt, worker)
  endClaim(id, meta)
  settle(id, task)
  freeDedupeKey(id, meta)
  status.s, status.a, status.w, status.f = 'dead', attempt, worker, whole(now)
  setStatus(id, status)
  redis.call('ZADD', P .. 'f:dead', whole(now), id)
  if anyWaiting() then release(id, false) end
end

-- From here on a task that goes back is before what was enqueued after it.
local function enqueuedAt(task) return tonumber(string.sub(task, 15, 30)) end

-- Gives a claim back: pending again from `dueAt` on.
local function giveBack(id, task, meta, status, attempt, dueAt)
  endClaim(id, meta)
  settle(id, task)
  status.s, status.a, status.w, status.f = nil, attempt, nil, nil
  setStatus(id, status)
  makePending(id, task, meta, dueAt)
end

-- Adds tasks. From ARGV[first] on, for each: id, what of it follows its enqueueing time, delay, length of the dedupe
-- window in ms (0: none), what it waits for (JSON) or '', 1 when any end of that will do.
-- Returns the id of each, or of the one that was in its way.
local function enqueue(first)
  local count = (#ARGV - first + 1) / 6
  local place = redis.call('INCRBY', P .. 'seq', count) - count
  local result, linked = {}, {}
  for index = 1, count do
    local at = first + (index - 1) * 6
    local id, rest, delay, window, after = ARGV[at], ARGV[at + 1], ARGV[at + 2], ARGV[at + 3], ARGV[at + 4]
    local task = string.format('%014d%016.0f', place + index, now) .. rest
    local meta = metaOf(task)
    local taken = hasTask(id) and id
    if not taken and meta.k then
      taken = redis.call('HGET', P .. 'k', meta.k) or redis.call('GET', P .. 'u:' .. meta.k)
    end
    result[index] = taken or id
    if not taken then
      putTask(id, task)
      if meta.k then
        redis.call('HSET', P .. 'k', meta.k, id)
        if window ~= '0' then redis.call('SET', P .. 'u:' .. meta.k, id, 'PX', window) end
      end
      if meta.g then redis.call('SADD', P .. 'g:' .. meta.g, id) end
      if after == '' then makePending(id, task, meta, now + delay)
      else
        linked[#linked + 1] = {id, task, meta, now + delay, cjson.decode(after), ARGV[at + 5]}
        redis.call('HSET', P .. 'v', id, 0)
      end
    end
  end
  -- Only now is everything there that they may wait for.
  for _, link in ipairs(linked) do
    local id, open = link[1], 0
    for _, other in ipairs(link[5]) do
      if hasTask(other) then
        local state = stateOf(other)
        local isLive = state == 'waiting' or state == 'pending' or state == 'claimed'
        if isLive or (state ~= 'completed' and link[6] ~= '1') then
          open = open + redis.call('SADD', P .. 'a:' .. other, link[6] .. id)
        end
      end
    end
    if open > 0 then
      redis.call('HSET', P .. 'v', id, open)
      redis.call('HSET', P .. 'vr', id, whole(link[4]) .. ' ' .. cjson.encode(link[5]))
    end
    link.open = open
  end
  for _, link in ipairs(linked) do
    if link.open == 0 then
      redis.call('HDEL', P .. 'v', link[1])
      makePending(link[1], link[2], link[3], link[4])
    end
  end
  return result
end

local function wake()
  if wakes then redis.call('PUBLISH', ARGV[1], ARGV[2]) end
end
