import {
  type Cache,
  type CacheOptions,
  type Database,
  openCache,
  openPostgres,
  openRedis,
} from "@holdfast/data";
import { type PostgresServer, type RedisServer, startPostgres, startRedis } from "@holdfast/testkit";
import { describeService } from "@holdfast/testkit/vitest";
import { afterAll, afterEach, beforeAll } from "vitest";
import { cacheRacesSuite } from "./cache-races.suite.ts";

describeService(["redis", "postgres"], "the races, on Redis and PostgreSQL", () => {
  let server: RedisServer;
  let postgres: PostgresServer;
  let sql: Database;
  let opened: AsyncDisposable[] = [];
  beforeAll(async () => {
    [server, postgres] = await Promise.all([startRedis(), startPostgres()]);
    sql = await openPostgres({ url: postgres.url, max: 20 });
  });
  afterEach(async () => {
    for (const each of opened) await each[Symbol.asyncDispose]();
    opened = [];
  });
  afterAll(async () => {
    await sql?.close();
    await server?.[Symbol.asyncDispose]();
    await postgres?.[Symbol.asyncDispose]();
  });

  const open = async (url: string, options: CacheOptions): Promise<Cache> => {
    // A connection of its own, as another process has.
    const redis = openRedis({ url });
    opened.push(redis);
    const cache = await openCache({ sql, redis, relayEveryMs: 50, ...options });
    await cache.migrate();
    return cache;
  };

  cacheRacesSuite(() => ({
    sql,
    open: (name, options = {}) => open(server.url, { name, ...options }),
    // Nothing listens there.
    openCutOff: (name, options = {}) => open("redis://127.0.0.1:1", { name, ...options }),
    loseGuards: async (name) => {
      const keys = (await server.command("KEYS", `{${name}.0}:*`)) as string[];
      const guards = keys.filter((key) => !key.includes("}:e:"));
      if (guards.length > 0) await server.command("DEL", ...guards);
    },
  }));
});
