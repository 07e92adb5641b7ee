-- Reads a stream on from an offset, with its bounds, as of one instant.
-- KEYS: 1 the head (hash), 2 the entries (stream), 3 the life (hash) of a log; without it, as for the changes of
--   states, the stream goes on over failovers.
-- ARGV: 1 offset to go on after, 2 most entries (0: bounds only).
-- Result: {epoch, head, trimmed, offset, payload, appended at, offset, …}, or {} for an unknown stream of no life.
-- Invariant: a stream of an earlier life of the server reads as one that begins now. Where the server takes no writes
--   it reads as it is, until a read after that.
local head = redis.call('HMGET', KEYS[1], 'epoch', 'head', 'trimmed', 'life')
if KEYS[3] then
  local life = life_of_server()
  local epoch = head[4] ~= life and epoch_of_life(KEYS[3], life)
  if epoch then return {epoch, '0', '0'} end
end
if not head[1] then return {} end
local result = {head[1], head[2], head[3]}
if ARGV[2] == '0' then return result end
local after = string.format('%.0f', math.max(tonumber(ARGV[1]), tonumber(head[3])))
for _, entry in ipairs(redis.call('XRANGE', KEYS[2], '(' .. after .. '-0', '+', 'COUNT', ARGV[2])) do
  result[#result + 1] = string.match(entry[1], '^%d+')
  result[#result + 1] = entry[2][2]
  result[#result + 1] = entry[2][4]
end
return result
