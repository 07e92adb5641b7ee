export type { RedisClient, RedisScript } from "./redis-client.ts";
export { createRedisStore, type FastStore, type RedisStoreOptions } from "./store.ts";
