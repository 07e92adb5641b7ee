-- Asks for the right to load one key.
-- KEYS: 1 state, 2 entry, 3 lease, then the tags.
-- ARGV: 1 generation, 2 lease in ms, 3 how long tags are kept in ms, 4 bucket of the key, 5 stamp of the entry that
--   the asker knows or "".
-- Result: {"generation"}; {"present", entry}; {"held"};
--   {"granted", token, tag stamps, floor of the bucket or "", base or "", epoch or ""}.
-- Invariant: a tag's stamp is never used twice in a generation, so one that was lost is another one when it comes back.
if redis.call('HGET', KEYS[1], 'generation') ~= ARGV[1] then return {'generation'} end
local stamps = {}
for i = 4, #KEYS do
  local stamp = redis.call('GET', KEYS[i])
  if not stamp then
    stamp = redis.call('HINCRBY', KEYS[1], 'seq', 1)
    redis.call('SET', KEYS[i], stamp, 'PX', ARGV[3])
  elseif redis.call('PTTL', KEYS[i]) < ARGV[3] / 2 then
    redis.call('PEXPIRE', KEYS[i], ARGV[3])
  end
  stamps[#stamps + 1] = tostring(stamp)
end
local joined = #stamps == 0 and '-' or table.concat(stamps, ',')
local entry = redis.call('GET', KEYS[2])
if entry then
  local head = ARGV[1] .. ' ' .. joined .. ' '
  if string.sub(entry, 1, #head) == head and string.match(entry, '^%S+ %S+ (%S+)') ~= ARGV[5] then
    return {'present', entry}
  end
end
local lease = redis.call('GET', KEYS[3])
-- A lease of another generation belongs to a load that cannot be stored any more.
if lease and string.sub(lease, 1, #ARGV[1] + 1) == ARGV[1] .. ' ' then
  -- Whoever fills it knows by the mark that somebody waits.
  if string.sub(lease, -1) ~= 'w' then redis.call('SET', KEYS[3], lease .. 'w', 'KEEPTTL') end
  return {'held'}
end
local token = tostring(redis.call('HINCRBY', KEYS[1], 'seq', 1))
redis.call('SET', KEYS[3], ARGV[1] .. ' ' .. token, 'PX', ARGV[2])
local rest = redis.call('HMGET', KEYS[1], 'p' .. ARGV[4], 'base', 'epoch')
return {'granted', token, joined, rest[1] or '', rest[2] or '', rest[3] or ''}
