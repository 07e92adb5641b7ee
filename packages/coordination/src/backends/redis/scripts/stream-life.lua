-- What the scripts of logs begin with: the life of the server, and the epoch of the streams that begin in it.
-- After a failover or a restart the server's data may lack what was acknowledged; its replication id is another one
-- then. The streams of an earlier life are over, for readers too: none may go on from an offset that is given again, or
-- stay where an entry is missing that nobody has any more. All streams that begin in one life share an epoch, so that
-- the end of that life is also told to who reads a stream that was never written.
local function life_of_server()
  return string.match(redis.call('INFO', 'replication'), 'master_replid:(%x+)')
end

-- The epoch of streams that begin now, kept under `key` (hash). Where the server takes no writes: nil, and its error.
-- Never used twice, also after a loss of the key: it follows the clock (microseconds).
local function epoch_of_life(key, life)
  local known = redis.call('HMGET', key, 'life', 'epoch')
  if known[1] == life then return known[2] end
  local time = redis.call('TIME')
  local last = tonumber(known[2] or '0')
  local epoch = string.format('%.0f', math.max(last + 1, time[1] * 1000000 + time[2]))
  local reply = redis.pcall('HSET', key, 'life', life, 'epoch', epoch)
  if type(reply) == 'table' and reply.err then return nil, reply end
  return epoch
end

