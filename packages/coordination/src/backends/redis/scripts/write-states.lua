-- Applies writes to the state of a namespace, one after the other, each under its own condition.
-- KEYS: 1 the last epoch, 2 the head (hash) and 3 the entries (stream) of the changes, 4 the values (hash), 5 the
--   ends of those that have one (sorted set).
-- ARGV: 1 channel, 2 what to publish (JSON; together with epoch, head before and changes, or alone), 3 who writes (JSON), 4 how many changes to keep, then of each write: kind
--   (set, delete, increment), key, the revision that it asks for ("0": none may be there; "": any), TTL in ms ("":
--   none, or as it was when incrementing), value (JSON; the amount of an increment), metadata (JSON, or "").
-- Result: epoch, then of each write its outcome (written, unchanged, conflict, not-integer), the revision after it,
--   and the value that is there now as it is stored ("" when there is none) with its remaining ms ("" without end).
-- Invariant: one script, so value, revision and changes never disagree; revisions are the offsets of the changes.
--   After a failover or a restart (another replication id) acknowledged changes may be lost and their revisions given
--   again: then the epoch is another one and the changes before are forgotten, while values and revisions stay.
local time = redis.call('TIME')
local micros = time[1] * 1000000 + time[2]
local now = micros / 1000
local stamp = string.format('%.3f', now)
local life = string.match(redis.call('INFO', 'replication'), 'master_replid:(%x+)')
local known = redis.call('HMGET', KEYS[2], 'epoch', 'life', 'head')
local epoch = known[1]
if not epoch or known[2] ~= life then
  local last = tonumber(redis.call('GET', KEYS[1]) or '0')
  epoch = string.format('%.0f', math.max(last + 1, micros))
  redis.call('SET', KEYS[1], epoch)
  redis.call('HSET', KEYS[2], 'epoch', epoch, 'life', life, 'head', known[3] or '0', 'trimmed', known[3] or '0')
  redis.call('DEL', KEYS[3])
  if not known[1] then redis.call('DEL', KEYS[4], KEYS[5]) end
end
local head = tonumber(redis.call('HGET', KEYS[2], 'head') or '0')
local before = head
local result = {epoch}

local changes = {}
local size_of_changes = 0
local function emit(change)
  changes[#changes + 1] = change
  size_of_changes = size_of_changes + #change
  redis.call('XADD', KEYS[3], string.format('%.0f-0', head), 'p', change, 'a', stamp)
end

local hasEnds = redis.call('EXISTS', KEYS[5]) == 1
for i = 5, #ARGV, 6 do
  local kind, key, wanted, ttl, value, metadata = unpack(ARGV, i, i + 5)
  local ends = hasEnds and redis.call('ZSCORE', KEYS[5], key)
  local stored = redis.call('HGET', KEYS[4], key)
  if stored and ends and tonumber(ends) <= now then stored = false end
  local revision, size, rest
  if stored then revision, size, rest = string.match(stored, '^(%d+) (%d+) (.*)$') end
  local outcome = 'written'
  if wanted ~= '' and wanted ~= (revision or '0') then
    outcome = 'conflict'
  elseif kind == 'delete' then
    if stored then
      head = head + 1
      redis.call('HDEL', KEYS[4], key)
      redis.call('ZREM', KEYS[5], key)
      emit('{"k":' .. cjson.encode(key) .. ',"d":"deleted","w":' .. ARGV[3] .. '}')
      stored = false
    else
      outcome = 'unchanged'
    end
  else
    local new = value
    if kind == 'increment' then
      local held = '0'
      if stored then held = rest and string.match(string.sub(rest, size + 1), '^%-?%d+$') end
      local sum = held and #held <= 17 and tonumber(held) + tonumber(value)
      new = sum and math.abs(sum) <= 9007199254740991 and string.format('%.0f', sum)
      if metadata == '' and stored and rest then metadata = string.sub(rest, 1, size) end
    end
    if metadata == '' then metadata = 'null' end
    if not new then
      outcome = 'not-integer'
    else
      head = head + 1
      stored = string.format('%.0f %d ', head, #metadata) .. metadata .. new
      redis.call('HSET', KEYS[4], key, stored)
      if ttl ~= '' then
        hasEnds = true
        ends = string.format('%.3f', now + ttl)
        redis.call('ZADD', KEYS[5], ends, key)
      elseif ends and (kind == 'set' or tonumber(ends) <= now) then
        ends = false
        redis.call('ZREM', KEYS[5], key)
      end
      local left = ends and string.format('%.3f', ends - now) or 'null'
      emit('{"k":' .. cjson.encode(key) .. ',"v":' .. new .. ',"m":' .. metadata .. ',"x":' .. left ..
        ',"w":' .. ARGV[3] .. '}')
    end
  end
  result[#result + 1] = outcome
  result[#result + 1] = string.format('%.0f', head)
  result[#result + 1] = stored or ''
  result[#result + 1] = stored and ends and string.format('%.3f', ends - now) or ''
end
if head ~= before then
  redis.call('HSET', KEYS[2], 'head', string.format('%.0f', head))
  local kept = tonumber(ARGV[4])
  if head - tonumber(redis.call('HGET', KEYS[2], 'trimmed') or '0') > kept * 1.25 then
    redis.call('XTRIM', KEYS[3], 'MINID', string.format('%.0f-0', head - kept + 1))
    redis.call('HSET', KEYS[2], 'trimmed', string.format('%.0f', head - kept))
  end
  -- Who has followed up to here need not come and read what is small enough to be told at once.
  if size_of_changes < 16384 then
    redis.call('PUBLISH', ARGV[1], '{"k":' .. ARGV[2] .. ',"e":"' .. epoch .. '","a":"' ..
      string.format('%.0f', before) .. '","c":[' .. table.concat(changes, ',') .. ']}')
  else
    redis.call('PUBLISH', ARGV[1], ARGV[2])
  end
end
return result
