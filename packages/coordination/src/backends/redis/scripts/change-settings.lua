-- Pauses, resumes or limits a queue. What is neither paused nor limited has no settings.
-- KEYS and ARGV 1 and 2: see task-steps.lua. ARGV: 3 "pause" and 4 1 or 0, or 3 "limit" and 4 to 9 concurrency, rate, its
--   time in microseconds and the same for each key, '' where there is no limit. Result: "1".
local names = {'concurrency', 'count', 'per', 'keyConcurrency', 'keyCount', 'keyPer'}
if ARGV[3] == 'pause' then
  if ARGV[4] == '1' then redis.call('HSET', P .. 'o', 'paused', '1') else redis.call('HDEL', P .. 'o', 'paused') end
else
  redis.call('DEL', P .. 'b')
  redis.call('HDEL', P .. 'o', 'tokens', 'at', unpack(names))
  for index, name in ipairs(names) do
    if ARGV[3 + index] ~= '' then redis.call('HSET', P .. 'o', name, ARGV[3 + index]) end
  end
end
redis.call('PUBLISH', ARGV[1], ARGV[2])
return '1'
