-- The store's clock. Result: milliseconds since the epoch.
local time = redis.call('TIME')
return string.format('%.3f', (time[1] * 1000000 + time[2]) / 1000)
