-- Whether a queue is paused, and its limits.
-- KEYS and ARGV 1 and 2: see task-steps.lua.
-- Result: 1 when paused, concurrency, rate, its time in microseconds, the same for each key; '' where there is none.
local values = redis.call('HMGET', P .. 'o', 'paused', 'concurrency', 'count', 'per', 'keyConcurrency', 'keyCount', 'keyPer')
local result = {}
for index = 1, 7 do result[index] = values[index] or '' end
return result
