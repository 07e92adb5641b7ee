-- The unexpired lease of a name.
-- KEYS: 1 the leases (hash, see grant-lease.lua). ARGV: 1 name.
-- Result: {owner, token, remaining ms, metadata}, or {} when there is none.
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local held = redis.call('HGET', KEYS[1], ARGV[1])
local ends = held and (tonumber(string.sub(held, 17, 32)) or 0) + (tonumber(string.sub(held, 33, 40)) or 0) * 1000
if not held or ends <= now then return {} end
local owner, metadata = string.match(held, '^%Z*%z(%Z*)%z(.*)$', 42)
return {owner, string.sub(held, 1, 16), string.format('%.3f', (ends - now) / 1000), metadata}
