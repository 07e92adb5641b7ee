import { type Cache, type CacheOptions, openCache, openPostgres, openRedis } from "@holdfast/data";
import { type Logger, silentLogger } from "@holdfast/kernel";
import {
  createFaultProxy,
  type FaultProxy,
  type PostgresServer,
  type RedisServer,
  startPostgres,
  startRedis,
} from "@holdfast/testkit";
import { describeService, expectFigure, expectNoLeaks } from "@holdfast/testkit/vitest";
import { afterAll, afterEach, beforeAll, beforeEach, expect, it, vi } from "vitest";
import { Child } from "./child-process.ts";
import { measuredOn, measuredOnRedis } from "./measured-on.ts";

const LATEST = { maxStalenessMs: 0 } as const;

describeService("redis", "a cache on Redis", () => {
  expectNoLeaks();
  let server: RedisServer;
  let opened: AsyncDisposable[] = [];
  let count = 0;
  beforeEach(async () => {
    server = await startRedis({ settings: { "maxmemory-policy": "allkeys-lru" } });
    count += 1;
  });
  afterEach(async () => {
    for (const each of opened.reverse()) await each[Symbol.asyncDispose]();
    opened = [];
    await server[Symbol.asyncDispose]();
  });
  const open = async (options: Partial<CacheOptions> & { readonly port?: number } = {}): Promise<Cache> => {
    const url = options.port === undefined ? server.url : `redis://127.0.0.1:${options.port}`;
    const redis = openRedis({ url, answerTimeoutMs: 200 });
    const cache = await openCache({ name: `cache-${count}`, redis, ...options });
    opened.push(redis, cache);
    return cache;
  };
  let loadCount = 0;
  beforeEach(() => {
    loadCount = 0;
  });
  const load = (value: unknown) => async () => {
    loadCount += 1;
    return value;
  };

  it("reports version and mode, and warns of a policy that does not suit a cache", async () => {
    const warnings: string[] = [];
    const logger: Logger = { ...silentLogger, warn: (_, message) => warnings.push(message) };
    const cache = await open({ logger });
    const report = await cache.server();
    expect(report).toMatchObject({
      kind: "redis",
      mode: "standalone",
      evictionPolicy: "allkeys-lru",
      warnings: [],
    });
    expect(report.version).toMatch(/^\d+\.\d+/);
    expect(report.pingMs).toBeGreaterThan(0);
    await server.command("CONFIG", "SET", "maxmemory-policy", "noeviction");
    expect(warnings).toEqual([]);
    const another = await open({ logger });
    expect((await another.server()).warnings.join()).toContain("maxmemory-policy is noeviction");
    expect(warnings.join()).toContain("maxmemory-policy is noeviction");
  });

  it("sets, gets in order, expires within half a second of its time, and deletes", async () => {
    const cache = await open();
    await cache.put("a", 1, { ttlMs: 2_000 });
    const putAt = performance.now();
    await cache.put("b", [2]);
    await cache.put(["c", 3], { n: 3n });
    expect(await cache.peek([["c", 3], "a", "none", "b"])).toEqual([{ n: 3n }, 1, undefined, [2]]);
    await cache.invalidate({ keys: ["b"] });
    expect(await cache.peek(["b"])).toEqual([undefined]);
    // The jitter ends it up to a tenth earlier.
    await vi.waitFor(async () => expect(await cache.peek(["a"])).toEqual([undefined]), {
      timeout: 3_000,
      interval: 20,
    });
    const tookMs = performance.now() - putAt;
    expect(tookMs).toBeGreaterThan(1_700);
    expect(tookMs).toBeLessThan(2_500);
  });

  it("loads once for all processes, and keeps it for 300 s less the jitter", async () => {
    const [one, two] = [await open(), await open()];
    expect([await one.get("k", { load: load("v") }), await two.get("k", { load: load("v") })]).toEqual([
      "v",
      "v",
    ]);
    expect(loadCount).toBe(1);
    const ttls = await Promise.all(
      Array.from({ length: 20 }, async (_, index) => {
        await one.get(`t${index}`, { load: load(index) });
        return Number(await server.command("PTTL", `{cache-${count}.0}:e:t${index}`));
      }),
    );
    expect(Math.max(...ttls)).toBeLessThanOrEqual(300_000);
    expect(Math.min(...ttls)).toBeGreaterThan(269_000);
    expect(new Set(ttls).size).toBeGreaterThan(10);
  });

  it("goes to the source once a call while Redis is down, and comes back by itself", async () => {
    const cache = await open();
    await cache.get("k", { load: load("v"), ...LATEST });
    await server.kill();
    for (let call = 0; call < 20; call += 1) {
      expect(await cache.get("k", { load: load(call), ...LATEST })).toBe(call);
    }
    expect(loadCount).toBe(21);
    expect(cache.stats()).toMatchObject({ bypassCount: 20, breaker: "open" });
    await server.start();
    await vi.waitFor(
      async () => {
        await cache.get("k", { load: load("back"), ...LATEST });
        expect(cache.stats().sharedHitCount).toBe(1);
      },
      { timeout: 10_000 },
    );
    expect(cache.stats().isNearTrusted).toBe(true);
  });

  it("opens without Redis, and uses it once it is there", async () => {
    await server.kill();
    const cache = await open();
    expect(await cache.get("k", { load: load("v") })).toBe("v");
    await server.start();
    await vi.waitFor(
      async () => {
        await cache.get("k", { load: load("v"), ...LATEST });
        expect(cache.stats().sharedHitCount).toBe(1);
      },
      { timeout: 10_000 },
    );
  });

  it("is not held up by a server that answers nothing", async () => {
    const cache = await open();
    await cache.get("k", { load: load("v"), ...LATEST });
    server.pause();
    try {
      const startedAt = performance.now();
      expect(await cache.get("k", { load: load("source"), ...LATEST })).toBe("source");
      expect(performance.now() - startedAt).toBeLessThan(2_000);
      for (let call = 0; call < 10; call += 1) await cache.get("k", { load: load("source"), ...LATEST });
      expect(cache.stats().breaker).toBe("open");
    } finally {
      server.resume();
    }
    await vi.waitFor(
      async () => {
        await cache.get("k", { load: load("v"), ...LATEST });
        expect(cache.stats().sharedHitCount).toBeGreaterThan(0);
      },
      { timeout: 10_000 },
    );
  });

  it("serves no old copy after a connection was cut and came back, and none beyond its bound before that", async () => {
    await using proxy: FaultProxy = await createFaultProxy({ target: { port: server.port } });
    const writer = await open();
    const reader = await open({ port: proxy.port, maxStalenessMs: 500 });
    let source = 1;
    const read = () => reader.get("k", { load: async () => source });
    for (const cut of ["cut", "reset", "halfOpen"] as const) {
      await read();
      await vi.waitFor(() => expect(reader.stats().isNearTrusted).toBe(true), { timeout: 10_000 });
      if (cut === "cut") proxy.set({ cut: true });
      else proxy[cut]();
      source += 1;
      await writer.invalidate({ keys: ["k"] });
      const toldAt = performance.now();
      let isSeen = false;
      await vi.waitFor(
        async () => {
          const askedAt = performance.now();
          const value = await read();
          if (askedAt - toldAt > 500) expect(value).toBe(source);
          // Once new, it is never old again.
          if (isSeen) expect(value).toBe(source);
          isSeen ||= value === source;
          expect([isSeen, askedAt - toldAt > 700]).toEqual([true, true]);
        },
        { timeout: 5_000, interval: 10 },
      );
      await proxy.heal();
      await vi.waitFor(() => expect(reader.stats().isNearTrusted).toBe(true), { timeout: 10_000 });
      expect(await read()).toBe(source);
    }
  });
});

describeService(["redis", "postgres"], "a cache on Redis in front of PostgreSQL", () => {
  let server: RedisServer;
  let postgres: PostgresServer;
  beforeAll(async () => {
    [server, postgres] = await Promise.all([startRedis(), startPostgres()]);
  });
  afterAll(async () => {
    await server?.[Symbol.asyncDispose]();
    await postgres?.[Symbol.asyncDispose]();
  });

  it(
    "repairs what a process that was killed after its commit left behind, within twice the relay's period",
    { timeout: 60_000 },
    async () => {
      await using redis = openRedis({ url: server.url });
      await using sql = await openPostgres({ url: postgres.url, max: 4 });
      await using cache = await openCache({ name: "crash", redis, sql, relayEveryMs: 200 });
      await cache.migrate();
      await sql.query("CREATE TABLE crash (id int PRIMARY KEY, v text)");
      await sql.query("INSERT INTO crash VALUES (1, 'v1')");
      const read = async () => (await sql.query<{ v: string }>("SELECT v FROM crash WHERE id = 1", []))[0]?.v;
      expect(await cache.get("1", { load: read })).toBe("v1");
      await using writer = new Child("cache-writer", [postgres.url, "crash"]);
      await writer.printed(1);
      await vi.waitFor(async () => expect(await read()).toBe("v2"), { timeout: 10_000, interval: 5 });
      await writer.kill();
      const killedAt = performance.now();
      await vi.waitFor(async () => expect(await cache.get("1", { load: read, ...LATEST })).toBe("v2"), {
        timeout: 5_000,
        interval: 10,
      });
      // Twice the period, and two seconds for a busy machine.
      expect(performance.now() - killedAt).toBeLessThan(2_400);
      expect(cache.stats().invalidationRelayedCount).toBe(1);
    },
  );

  it("answers faster than the database, and makes more than 1,000 sets and 1,000 gets a second", async () => {
    await using redis = openRedis({ url: server.url });
    await using sql = await openPostgres({ url: postgres.url, max: 4 });
    await using cache = await openCache({ name: "speed", redis, sql });
    await sql.query("CREATE TABLE speed (id int PRIMARY KEY, v text)");
    await sql.query("INSERT INTO speed SELECT n, repeat('x', 200) FROM generate_series(1, 1000) AS n");
    const read = async (id: number) => (await sql.query("SELECT * FROM speed WHERE id = $1", [id]))[0];
    const time = async (body: (id: number) => Promise<unknown>, times: number): Promise<number> => {
      const startedAt = performance.now();
      for (let id = 1; id <= times; id += 1) await body(id);
      return (performance.now() - startedAt) / times;
    };
    for (let id = 1; id <= 100; id += 1) await cache.get(`row:${id}`, { load: () => read(id) });
    const databaseMs = await time(read, 100);
    const cacheMs = await time((id) => cache.get(`row:${id}`, { load: () => read(id) }), 100);
    const sharedMs = await time((id) => cache.get(`row:${id}`, { load: () => read(id), ...LATEST }), 100);
    const on = [await measuredOn(sql), await measuredOnRedis(server)];
    expectFigure("a read of the cache, by those of the database", cacheMs / databaseMs, {
      unit: "times",
      below: 1,
      on,
    });
    expectFigure("a read of the cache", cacheMs, { unit: "ms", below: 5, on });
    expectFigure("a read that may not be stale", sharedMs, { unit: "ms", below: 5, on });
    // Of 1,000 each, 20 at a time.
    const batch = (body: (id: number) => Promise<unknown>) => (turn: number) =>
      Promise.all(Array.from({ length: 20 }, (_, index) => body(20 * turn + index)));
    const setsTookMs =
      (await time(
        batch((id) => cache.put(`s:${id}`, { id })),
        50,
      )) / 20;
    const getsTookMs =
      (await time(
        batch((id) => cache.peek([`s:${id}`])),
        50,
      )) / 20;
    expectFigure("sets", 1_000 / setsTookMs, { unit: "a second", atLeast: 1_000, on });
    expectFigure("gets", 1_000 / getsTookMs, { unit: "a second", atLeast: 1_000, on });
  });
});
