-- Forgets the entries of a stream up to an offset.
-- KEYS: 1 the head (hash), 2 the entries (stream). ARGV: 1 offset, 2 channel, 3 what to publish.
-- Result: "1" when something was forgotten.
-- Invariant: trimmed never falls and never passes the head.
local head = redis.call('HMGET', KEYS[1], 'head', 'trimmed')
if not head[1] then return '0' end
local upTo = math.min(tonumber(ARGV[1]), tonumber(head[1]))
if upTo <= tonumber(head[2]) then return '0' end
redis.call('XTRIM', KEYS[2], 'MINID', string.format('%.0f-0', upTo + 1))
redis.call('HSET', KEYS[1], 'trimmed', string.format('%.0f', upTo))
redis.call('PUBLISH', ARGV[2], ARGV[3])
return '1'
