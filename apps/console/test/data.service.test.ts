import { DirectoryRepository, openCache, openCluster, openPostgres, openRedis } from "@holdfast/data";
import { systemClock } from "@holdfast/kernel";
import { makeTempDirectory, startPatroniCluster, startPostgres, startRedis } from "@holdfast/testkit";
import { describeService } from "@holdfast/testkit/vitest";
import { expect, it, vi } from "vitest";
import { createDataSource } from "../src/server/index.ts";

const within = (): AbortSignal => AbortSignal.timeout(30_000);

describeService(["postgres", "redis"], "one server, its replica and a cache", () => {
  it("shows roles, lag, pool, the cache of any process and the backups that there are not", async () => {
    await using server = await startPostgres({ settings: { wal_level: "replica" } });
    await using _replica = await server.startReplica();
    await using redisServer = await startRedis();
    await using directory = await makeTempDirectory("holdfast-console-");
    await using database = await openPostgres({ url: server.url });
    await using redis = openRedis({ url: redisServer.url });
    await using cache = await openCache({ name: "orders", redis });
    await cache.get(["order", 1], { load: async () => ({ id: 1 }) });
    await cache.get(["order", 1], { load: async () => ({ id: 2 }) });
    const backups = new DirectoryRepository({ directory: directory.path, url: server.url });
    const source = createDataSource({ database, redis, backups, clock: systemClock });
    // The cache reports every few seconds, and what was read is kept as long as that costs little.
    await vi.waitFor(
      async () => {
        expect(await source.look(within())).toMatchObject({
          database: { kind: "postgres", condition: "healthy", takesWrites: true, timeline: 1 },
          server: { kind: "shown", value: { database: "postgres", user: "postgres" } },
          nodes: {
            kind: "shown",
            value: [
              { name: "this server", role: "primary" },
              { role: "replica", health: "streaming, async", lagBytes: expect.any(Number) },
            ],
          },
          failovers: { kind: "absent" },
          shards: { kind: "absent" },
          caches: {
            kind: "shown",
            value: {
              server: { mode: "standalone" },
              caches: [{ cache: "orders", readCount: 2, hitRate: 0.5 }],
            },
          },
          backups: {
            kind: "shown",
            value: { count: 0, newest: null, lastVerified: null, lastRecovery: null },
          },
        });
      },
      { timeout: 30_000, interval: 200 },
    );
  }, 60_000);
});

describeService("patroni", "a cluster", () => {
  it("shows its nodes and the failover that it had", async () => {
    await using servers = await startPatroniCluster();
    await using database = await openCluster({
      url: "postgres://postgres@127.0.0.1/postgres",
      discovery: {
        kind: "patroni",
        urls: servers.nodes.map(({ restPort }) => `http://127.0.0.1:${restPort}`),
      },
    });
    const source = createDataSource({ database, clock: systemClock });
    const { to } = await database.switchover();
    await vi.waitFor(
      async () => {
        const seen = await source.look(within());
        expect(seen).toMatchObject({
          database: { kind: "cluster", primary: to, timeline: 2, takesWrites: true },
          failovers: { kind: "shown", value: [{ timeline: 1 }] },
        });
        const nodes = seen.nodes.kind === "shown" ? seen.nodes.value : [];
        expect(nodes.map(({ role }) => role).sort()).toEqual(["primary", "replica", "replica"]);
        expect(nodes.every(({ health }) => health === "healthy")).toBe(true);
      },
      { timeout: 30_000, interval: 200 },
    );
  }, 90_000);
});
