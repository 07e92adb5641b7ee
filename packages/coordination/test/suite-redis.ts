import type { RedisClient } from "@holdfast/coordination/redis";
import { type RedisServer, startRedis } from "@holdfast/testkit";
import { afterAll, beforeAll } from "vitest";
import { openRedis } from "./redis-client.ts";

/** A server and a client that all tests of a suite share. Both are there while tests run. */
export interface SuiteRedis {
  readonly server: RedisServer;
  readonly redis: RedisClient;
}

/** Starts them before the first test of the suite that asks, and ends them after its last. */
export const suiteRedis = (): SuiteRedis => {
  let server: RedisServer;
  let redis: RedisClient & AsyncDisposable;
  beforeAll(async () => {
    server = await startRedis();
    redis = await openRedis(server.url);
  });
  afterAll(async () => {
    await redis?.[Symbol.asyncDispose]();
    await server?.[Symbol.asyncDispose]();
  });
  return {
    get server() {
      return server;
    },
    get redis() {
      return redis;
    },
  };
};
