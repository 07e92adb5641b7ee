-- The unexpired lease of a name.
-- KEYS: 1 the lease (hash). Result: {owner, token, remaining ms, metadata}, or {} when there is none.
local time = redis.call('TIME')
local now = (time[1] * 1000000 + time[2]) / 1000
local held = redis.call('HMGET', KEYS[1], 'owner', 'token', 'ends', 'metadata')
if not held[2] or tonumber(held[3]) <= now then return {} end
return {held[1], held[2], string.format('%.3f', held[3] - now), held[4]}
