-- KEYS and ARGV 1 and 2: see task-steps.lua. ARGV: 3 name. Result: "1" when there was such a schedule.
return tostring(redis.call('HDEL', P .. 'h', ARGV[3]))
