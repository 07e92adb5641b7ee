-- Notes the state before a writer commits, so that it can store its value afterwards if nobody came in between.
-- KEYS: 1 state, then the tags. ARGV: 1 generation, 2 how long tags are kept in ms.
-- Result: {"generation"}, or {token, tag stamps}.
if redis.call('HGET', KEYS[1], 'generation') ~= ARGV[1] then return {'generation'} end
local stamps = {}
for i = 2, #KEYS do
  local stamp = redis.call('GET', KEYS[i])
  if not stamp then
    stamp = redis.call('HINCRBY', KEYS[1], 'seq', 1)
    redis.call('SET', KEYS[i], stamp, 'PX', ARGV[2])
  end
  stamps[#stamps + 1] = tostring(stamp)
end
local token = tostring(redis.call('HINCRBY', KEYS[1], 'seq', 1))
return {token, #stamps == 0 and '-' or table.concat(stamps, ',')}
