import type { RedisClient } from "@holdfast/coordination/redis";
import type { Redis } from "ioredis";

/** ioredis in the shape that the store wants: the same driver on both sides. */
export const clientOf = (connection: Redis): RedisClient => ({
  async runScript({ sha1, text }, keys, args) {
    try {
      return await connection.evalsha(sha1, keys.length, ...keys, ...args);
    } catch (error) {
      if (!(error instanceof Error) || !error.message.startsWith("NOSCRIPT")) throw error;
      return connection.eval(text, keys.length, ...keys, ...args);
    }
  },
  async subscribe(channel, onMessage) {
    const subscriber = connection.duplicate();
    subscriber.on("message", (_channel, message: string) => onMessage(message));
    await subscriber.subscribe(channel);
    return { [Symbol.asyncDispose]: async () => subscriber.disconnect() };
  },
});
