import { readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import { systemClock, systemRandom } from "@holdfast/kernel";
import { makeTempDirectory, startPostgres, startRedis } from "@holdfast/testkit";
import { describeService } from "@holdfast/testkit/vitest";
import { expect, it, vi } from "vitest";
import {
  type Cache,
  type Database,
  DirectoryRepository,
  openCache,
  openPostgres,
  openRedis,
  RestoredServer,
  sqlPositions,
} from "../src/index.ts";

describeService(["postgres", "redis"], "a cache after a restore", () => {
  it("has another epoch, and serves no entry from before", async () => {
    await using server = await startPostgres({ settings: { archive_mode: "on", wal_level: "replica" } });
    await using redisServer = await startRedis();
    const { uid, gid } = await stat(server.dataDirectory);
    const runAs = process.getuid?.() === 0 ? { uid, gid } : undefined;
    await using room = await makeTempDirectory("holdfast-restored-", { owner: { name: "owner", uid, gid } });
    const repository = new DirectoryRepository({
      directory: join(room.path, "repository"),
      url: server.url,
      runAs,
    });
    await repository.prepare();
    await server.sql(
      `ALTER SYSTEM SET archive_command = '${repository.archiveCommand.replaceAll("'", "''")}'`,
    );
    await server.sql("SELECT pg_reload_conf()");
    await using database = await openPostgres({ url: server.url });
    await database.query("CREATE TABLE notes (id int PRIMARY KEY, v text)");
    await database.query("INSERT INTO notes VALUES (1, 'kept')");
    await repository.backup();
    await database.query("SELECT pg_create_restore_point('good')");
    await database.query("UPDATE notes SET v = 'a mistake'");
    await database.query("SELECT pg_switch_wal()");

    await using redis = openRedis({ url: redisServer.url });
    const open = (sql: Database): Promise<Cache> =>
      openCache({
        name: "notes",
        redis,
        sql,
        positions: sqlPositions(sql),
        positionEveryMs: 50,
        maxStalenessMs: 0,
      });
    const read = (cache: Cache, sql: Database): Promise<unknown> =>
      cache.get(["note", 1], {
        load: async () => (await sql.query<{ v: string }>("SELECT v FROM notes WHERE id = 1"))[0]?.v,
      });
    const before = await sqlPositions(database).current();
    {
      await using cache = await open(database);
      expect(await read(cache, database)).toBe("a mistake");
      // It is there for every process: one that cannot reach the table gets it.
      expect(await cache.get(["note", 1], { load: () => "loaded again" })).toBe("a mistake");
    }
    const directory = join(room.path, "restored");
    await vi.waitFor(async () => expect((await readdir(repository.logDirectory)).length).toBeGreaterThan(2), {
      timeout: 10_000,
    });
    await repository.restore({ directory, target: { kind: "name", name: "good" } });
    await using copy = await RestoredServer.start({
      directory,
      runAs,
      clock: systemClock,
      random: systemRandom,
      timeoutMs: 30_000,
    });
    const after = await sqlPositions(copy.database).current();
    expect(after.epoch).toBeGreaterThan(before.epoch);
    await using cache = await open(copy.database);
    expect(await read(cache, copy.database)).toBe("kept");
  });
});
