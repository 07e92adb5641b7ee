-- Whether a queue's settings leave room for claims, of the whole queue and of each limit key; put after task-steps.lua and
-- before the scripts that ask.
-- `o` is: paused; concurrency; count and per: its rate, tokens and at: what was left of it then; keyConcurrency, keyCount
-- and keyPer: the same for each limit key. `b` is: limit key -> what was left of its rate, a space, when.
-- A rate is a token bucket: it holds `count` tokens at most and gets as many in `per` microseconds.
local settings
if redis.call('EXISTS', P .. 'o') == 1 then
  local flat = redis.call('HGETALL', P .. 'o')
  settings = {}
  for index = 1, #flat, 2 do settings[flat[index]] = flat[index + 1] end
end

-- What is in a bucket now. One that was used at a later time, before the clock was set back, got nothing since.
local function refilled(tokens, at, count, per)
  return math.min(count, tokens + math.max(0, now - at) * count / per)
end
-- What is left of the queue's rate, where it has one.
local function tokensLeft()
  return refilled(settings.tokens or settings.count, settings.at or now, settings.count, settings.per)
end
-- How many more may be claimed at the same time.
local function slotsLeft()
  return settings.concurrency and settings.concurrency - redis.call('ZCARD', P .. 'l') or math.huge
end

-- How many of `most` the queue has room for; forgets a later time, so that its rate refills from here on.
local function roomFor(most)
  if not settings then return most end
  if settings.paused then return 0 end
  most = math.min(most, slotsLeft())
  if settings.count then
    most = math.min(most, math.floor(tokensLeft()))
    if settings.at and tonumber(settings.at) > now then redis.call('HSET', P .. 'o', 'at', whole(now)) end
  end
  return most
end

local hasKeyLimits = settings and (settings.keyConcurrency or settings.keyCount)
local keyRooms, keyTokens, keySpent = {}, {}, {}
-- How many more tasks may be claimed of a limit key.
local function keyRoomOf(limitKey)
  local left = keyRooms[limitKey]
  if left then return left end
  left = math.huge
  if settings.keyConcurrency then left = settings.keyConcurrency - (redis.call('HGET', P .. 'q', limitKey) or 0) end
  if settings.keyCount then
    local bucket, tokens = redis.call('HGET', P .. 'b', limitKey), tonumber(settings.keyCount)
    if bucket then
      local last, at = string.match(bucket, '^(%S+) (%S+)$')
      if tonumber(at) > now then redis.call('HSET', P .. 'b', limitKey, last .. ' ' .. whole(now)) end
      tokens = refilled(last, at, tokens, settings.keyPer)
    end
    keyTokens[limitKey] = tokens
    left = math.min(left, math.floor(tokens))
  end
  keyRooms[limitKey] = left
  return left
end
local function takeOfKey(limitKey)
  keyRooms[limitKey] = keyRooms[limitKey] - 1
  keySpent[limitKey] = (keySpent[limitKey] or 0) + 1
end

-- Takes what so many claims used up from the buckets; parts of a token stay there.
local function spend(count)
  if not settings or count < 1 then return end
  if settings.count then
    redis.call('HSET', P .. 'o', 'tokens', string.format('%.6f', tokensLeft() - count), 'at', whole(now))
  end
  for limitKey, tokens in pairs(keyTokens) do
    local spent = keySpent[limitKey]
    if spent then redis.call('HSET', P .. 'b', limitKey, string.format('%.6f %.0f', tokens - spent, now)) end
  end
end
