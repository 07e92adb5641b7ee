export type { RedisClient, RedisScript, RedisTransaction } from "./redis-client.ts";
export { createRedisStore, type FastStore, type RedisStoreOptions } from "./store.ts";
