import { createHash } from "node:crypto";
import type { RedisClient } from "@holdfast/coordination/redis";

/** A server, or whatever runs scripts on the node that a key lies on. */
export interface Evaluator {
  command(
    name: "EVAL",
    text: string,
    keyCount: 1,
    key: string,
    ...args: readonly (string | number)[]
  ): Promise<unknown>;
}

export const evaluatorOf = (redis: RedisClient): Evaluator => ({
  command: (_name, text, _keyCount, key, ...args) =>
    redis.runScript(
      { name: "elapse", text, sha1: createHash("sha1").update(text).digest("hex") },
      [key],
      args.map(String),
    ),
});

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
  server: Evaluator,
  namespace: string,
  queue: string,
  ms: number,
): Promise<void> => {
  await server.command("EVAL", SCRIPT, 1, `{${namespace}:queue:${queue}}`, ms);
};

/** Lets time pass for the leases of a store: every end moves into the past. */
export const elapseInLeases = async (server: Evaluator, namespace: string, ms: number): Promise<void> => {
  await server.command(
    "EVAL",
    `for _, name in ipairs(redis.call('HKEYS', KEYS[1])) do
       if name ~= '' then
         local value, by = redis.call('HGET', KEYS[1], name), ARGV[1] * 1000
         if string.byte(name) == 0 then
           local line = cmsgpack.unpack(value)
           for _, place in ipairs(line) do place[2] = place[2] - by end
           value = cmsgpack.pack(line)
         else
           local ends = string.format('%016.0f', string.sub(value, 17, 32) - by)
           value = string.sub(value, 1, 16) .. ends .. string.sub(value, 33)
         end
         redis.call('HSET', KEYS[1], name, value)
       end
     end`,
    1,
    `{${namespace}}:leases`,
    ms,
  );
};

/** Lets time pass for the values of one namespace: their ends move into the past. */
export const elapseInState = async (server: Evaluator, store: string, ms: number): Promise<void> => {
  const move = `for _, key in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1)) do
    redis.call('ZINCRBY', KEYS[1], -ARGV[1], key)
  end`;
  await server.command("EVAL", move, 1, `{${store}}:ends:state/ns`, ms);
};
