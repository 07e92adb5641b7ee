-- Tasks by id, group or state, ordered by id.
-- KEYS and ARGV 1 and 2: see task-steps.lua. ARGV: 3 id or '', 4 1 when a group is asked for, 5 the group, 6 id to go on
--   after or '', 7 most tasks, 8 1 when states are asked for, 9… the states.
-- Result: for each: id, task, state, attempt, worker or '', 1 when there is a result, the result, end or '', progress or
--   '', and its failures: attempt, time, worker and error of each.
local wanted = {}
for at = 9, #ARGV do wanted[ARGV[at]] = true end
local ids = {}
if ARGV[3] ~= '' then ids = {ARGV[3]}
elseif ARGV[4] == '1' then ids = redis.call('SMEMBERS', P .. 'g:' .. ARGV[5])
elseif ARGV[8] == '1' and not (wanted.waiting or wanted.pending) then
  for state in pairs(wanted) do
    for _, id in ipairs(redis.call('ZRANGE', state == 'claimed' and P .. 'l' or P .. 'f:' .. state, 0, -1)) do
      ids[#ids + 1] = id
    end
  end
else
  ids = redis.call('HKEYS', P .. 't')
  for _, page in ipairs(redis.call('SMEMBERS', P .. 'tp')) do
    for _, id in ipairs(redis.call('HKEYS', P .. 't:' .. page)) do ids[#ids + 1] = id end
  end
end
-- Lua compares by the server's locale. Where that is not the order of bytes, digits in place of these are compared.
local before = function(a, b) return a < b end
if 'B' < 'a' then table.sort(ids)
else
  local codes, places = {}, {}
  for byte = 0, 255 do codes[string.char(byte)] = string.format('%03d', byte) end
  local function placeOf(id)
    if not places[id] then places[id] = string.gsub(id, '.', codes) end
    return places[id]
  end
  before = function(a, b) return placeOf(a) < placeOf(b) end
  table.sort(ids, before)
end
local result, most = {}, tonumber(ARGV[7])
for _, id in ipairs(ids) do
  if #result >= most then break end
  if ARGV[6] == '' or before(ARGV[6], id) then
    local task = readTask(id)
    local state, status = stateOf(id)
    if task and (ARGV[8] ~= '1' or wanted[state]) then
      local claim = claimOf(id)
      status = status or {a = 0}
      local failures = {}
      for _, failure in ipairs(status.e or {}) do
        for part = 1, 4 do failures[#failures + 1] = tostring(failure[part]) end
      end
      result[#result + 1] = {id, (wholeOf(task)), state, tostring(claim and claim.attempt or status.a or 0),
        claim and claim.worker or status.w or '', status.r and '1' or '0', status.r or '', status.f or '',
        redis.call('HGET', P .. 'p', id) or '', failures}
    end
  end
end
return result
