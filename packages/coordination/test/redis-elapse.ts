import type { RedisServer } from "@holdfast/testkit";

const SCRIPT = `
local P, by = KEYS[1] .. ':', ARGV[1] * 1000
local function shiftAll(key)
  for _, member in ipairs(redis.call('ZRANGE', key, 0, -1)) do redis.call('ZINCRBY', key, -by, member) end
end
for _, lane in ipairs(redis.call('SMEMBERS', P .. 'y')) do shiftAll(P .. 'r:' .. lane) end
shiftAll(P .. 'l')
for _, state in ipairs({'completed', 'dead', 'cancelled'}) do shiftAll(P .. 'f:' .. state) end
for index, entry in ipairs(redis.call('HGETALL', P .. 'vr')) do
  if index % 2 == 0 then
    local id = redis.call('HGETALL', P .. 'vr')[index - 1]
    local dueAt, after = string.match(entry, '^(%d+) (.*)$')
    redis.call('HSET', P .. 'vr', id, string.format('%.0f %s', dueAt - by, after))
  end
end
local at = redis.call('HGET', P .. 'o', 'at')
if at then redis.call('HSET', P .. 'o', 'at', string.format('%.0f', at - by)) end
for _, key in ipairs(redis.call('HKEYS', P .. 'b')) do
  local tokens, since = string.match(redis.call('HGET', P .. 'b', key), '^(%S+) (%S+)$')
  redis.call('HSET', P .. 'b', key, string.format('%s %.0f', tokens, since - by))
end
for _, key in ipairs(redis.call('KEYS', P .. 'u:*')) do
  local left = redis.call('PTTL', key) - ARGV[1]
  if left > 0 then redis.call('PEXPIRE', key, left) else redis.call('DEL', key) end
end`;

/** Lets time pass for one queue: every stored instant moves into the past. */
export const elapseInQueue = async (
  server: RedisServer,
  namespace: string,
  queue: string,
  ms: number,
): Promise<void> => {
  await server.command("EVAL", SCRIPT, 1, `{${namespace}:queue:${queue}}`, ms);
};
