-- Keys: 1 the reports of all caches. Arguments: 1 which cache of which process, 2 its figures, 3 milliseconds that the
-- reports are kept when nobody reports any more.
-- Result: 1. Invariant: each report carries the server's time, in seconds.
local now = redis.call('TIME')
redis.call('HSET', KEYS[1], ARGV[1], now[1] .. ' ' .. ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return 1
