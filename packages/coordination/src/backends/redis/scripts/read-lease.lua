-- The unexpired lease of a name.
-- KEYS: 1 the leases (hash, see grant-lease.lua). ARGV: 1 name.
-- Result: {owner, token, remaining ms, metadata}, or {} when there is none.
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local known = redis.call('HGET', KEYS[1], ARGV[1])
local held = known and cmsgpack.unpack(known)
if not held or held[1] <= now then return {} end
return {held[5], held[2], string.format('%.3f', (held[1] - now) / 1000), held[6]}
