import type { RedisClient } from "@holdfast/coordination/redis";
import { createClient } from "redis";

/** The smallest client over one Redis server. Calls fail at once while it is away; it comes back by itself. */
export const openRedis = async (url: string): Promise<RedisClient & AsyncDisposable> => {
  const connection = createClient({ url, disableOfflineQueue: true });
  connection.on("error", () => undefined);
  await connection.connect();
  return {
    runScript: async ({ text }, keys, args) =>
      connection.eval(text, { keys: [...keys], arguments: [...args] }),
    async subscribe(channel, onMessage) {
      const subscriber = connection.duplicate();
      subscriber.on("error", () => undefined);
      await subscriber.connect();
      await subscriber.subscribe(channel, (message: string) => onMessage(message));
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
