import type { RedisClient, RedisScript } from "@holdfast/coordination/redis";
import { createClient, createCluster, createSentinel } from "redis";

interface Call {
  keys: string[];
  arguments: string[];
}

interface Connection {
  evalSha(sha1: string, call: Call): Promise<unknown>;
  eval(text: string, call: Call): Promise<unknown>;
}

const runScript = async (
  connection: Connection,
  { text, sha1 }: RedisScript,
  keys: readonly string[],
  args: readonly string[],
): Promise<unknown> => {
  const call = { keys: [...keys], arguments: [...args] };
  try {
    return await connection.evalSha(sha1, call);
  } catch (error) {
    if (!(error instanceof Error) || !error.message.startsWith("NOSCRIPT")) throw error;
    return connection.eval(text, call);
  }
};

/** The smallest client over one Redis server. Calls fail at once while it is away. */
export const openRedis = async (url: string): Promise<RedisClient & AsyncDisposable> => {
  const connection = createClient({ url, disableOfflineQueue: true });
  // A server that goes away is what some tests are about; the client reconnects by itself.
  connection.on("error", () => undefined);
  await connection.connect();
  return {
    runScript: (script, keys, args) => runScript(connection, script, keys, args),
    async runTransaction({ commands, script, keys, args, publish }) {
      const multi = connection.multi();
      for (const command of commands) multi.addCommand(command as (string | Buffer)[]);
      multi.addCommand(["EVAL", script.text, `${keys.length}`, ...keys, ...args]);
      const [replies] = await Promise.all([multi.exec(), connection.publish(...publish)]);
      return replies.at(-1);
    },
    async subscribe(channel, onMessage, onInterrupted) {
      const subscriber = connection.duplicate();
      subscriber.on("error", () => onInterrupted?.());
      await subscriber.connect();
      await subscriber.subscribe(channel, (message: string) => onMessage(message));
      // Subscribed again by then: the client does that before it says that it is ready.
      subscriber.on("ready", () => onInterrupted?.());
      return {
        async [Symbol.asyncDispose]() {
          subscriber.destroy();
        },
      };
    },
    async [Symbol.asyncDispose]() {
      connection.destroy();
    },
  };
};

/** The same over a Redis Cluster. */
export const openRedisCluster = async (url: string): Promise<RedisClient & AsyncDisposable> => {
  const connection = createCluster({ rootNodes: [{ url }] });
  connection.on("error", () => undefined);
  await connection.connect();
  return {
    runScript: (script, keys, args) => runScript(connection, script, keys, args),
    async subscribe(channel, onMessage) {
      const listener = (message: unknown): void => onMessage(String(message));
      await connection.subscribe(channel, listener);
      return { [Symbol.asyncDispose]: () => connection.unsubscribe(channel, listener) };
    },
    async [Symbol.asyncDispose]() {
      connection.destroy();
    },
  };
};

/** The same over the master that Sentinels name. */
export const openRedisSentinel = async (
  masterName: string,
  sentinels: readonly { readonly host: string; readonly port: number }[],
): Promise<RedisClient & AsyncDisposable> => {
  const connection = createSentinel({
    name: masterName,
    sentinelRootNodes: sentinels.map(({ host, port }) => ({ host, port })),
    scanInterval: 200,
  });
  connection.on("error", () => undefined);
  await connection.connect();
  return {
    runScript: (script, keys, args) => runScript(connection as unknown as Connection, script, keys, args),
    async subscribe(channel, onMessage) {
      const listener = (message: unknown): void => onMessage(String(message));
      await connection.subscribe(channel, listener);
      return { [Symbol.asyncDispose]: async () => connection.unsubscribe(channel, listener) };
    },
    async [Symbol.asyncDispose]() {
      connection.destroy();
    },
  };
};
