import {
  type Database,
  openCache,
  openPostgres,
  openRedis,
  type PositionSource,
  sqlPositions,
} from "@holdfast/data";
import { startPostgres, startRedis } from "@holdfast/testkit";
import { describeService } from "@holdfast/testkit/vitest";
import { expect, it, vi } from "vitest";

const LATEST = { maxStalenessMs: 0 } as const;

/** How far a replica has replayed, asked before the query that it is to vouch for. */
const replayed = async (replica: Database, epoch: bigint) => {
  const [row] = await replica.query<{ at: string }>("SELECT pg_last_wal_replay_lsn() - '0/0' AS at", []);
  return { epoch, position: BigInt(row?.at ?? 0) };
};
const read = async (sql: Database): Promise<string | undefined> => {
  const [row] = await sql.query<{ v: string }>("SELECT v FROM things WHERE id = 1", []);
  return row?.v;
};

describeService(["redis", "postgres"], "a cache in front of a primary and a replica", () => {
  it("keeps no value that a replica read before it had replayed what was invalidated", async () => {
    await using server = await startRedis();
    // Replay that is paused while it holds a lock of autovacuum's would hold the reads of the replica up.
    await using postgres = await startPostgres({ settings: { autovacuum: false } });
    await using standby = await postgres.startReplica();
    await using primary = await openPostgres({ url: postgres.url, max: 5 });
    await using replica = await openPostgres({ url: standby.url, max: 5 });
    await using redis = openRedis({ url: server.url });
    const positions = sqlPositions(primary);
    await using cache = await openCache({
      name: "replica",
      redis,
      sql: primary,
      positions,
      positionEveryMs: 50,
    });
    await cache.migrate();
    await primary.query("CREATE TABLE things (id int PRIMARY KEY, v text)");
    await primary.query("INSERT INTO things VALUES (1, 'v1')");
    const { epoch } = await positions.current();
    const fromReplica = async ({
      observed,
    }: {
      observed: (at: { epoch: bigint; position: bigint }) => void;
    }) => {
      observed(await replayed(replica, epoch));
      return read(replica);
    };
    // A replica that is up to date fills the cache.
    await vi.waitFor(async () => {
      await cache.invalidate({ keys: ["1"] });
      expect(await cache.get("1", { load: fromReplica })).toBe("v1");
      expect(await cache.peek(["1"])).toEqual(["v1"]);
    });
    await replica.query("SELECT pg_wal_replay_pause()", []);
    const replay = (): Promise<unknown> =>
      replica.query("SELECT pg_get_wal_replay_pause_state() AS state", []);
    await vi.waitFor(async () => expect(await replay()).toMatchObject([{ state: "paused" }]));
    await cache.transaction(async (tx, changes) => {
      await tx.query("UPDATE things SET v = 'v2'", []);
      changes.invalidate("1");
    });
    expect(await cache.get("1", { load: fromReplica, ...LATEST })).toBe("v1");
    expect(await cache.peek(["1"])).toEqual([undefined]);
    expect(cache.stats().fillBehindCount).toBeGreaterThan(0);
    // A loader that is told the floor does not even ask it.
    const routed = async ({ floor, observed }: Parameters<Parameters<typeof cache.get>[1]["load"]>[0]) => {
      const at = await replayed(replica, epoch);
      if (floor === undefined || floor.epoch !== at.epoch || floor.position > at.position)
        return read(primary);
      observed(at);
      return read(replica);
    };
    expect(await cache.get("1", { load: routed, ...LATEST })).toBe("v2");
    await cache.invalidate({ keys: ["1"] });
    await replica.query("SELECT pg_wal_replay_resume()", []);
    await vi.waitFor(async () => {
      expect(await cache.get("1", { load: fromReplica, ...LATEST })).toBe("v2");
      expect(await cache.peek(["1"])).toEqual(["v2"]);
    });
  });

  it("serves nothing of a history that a failover lost, though the server gives its positions again", async () => {
    await using server = await startRedis();
    await using postgres = await startPostgres();
    await using standby = await postgres.startReplica();
    await using redis = openRedis({ url: server.url });
    await using another = openRedis({ url: server.url });
    let sql: Database = await openPostgres({ url: postgres.url, max: 5 });
    const positions: PositionSource = { current: (options) => sqlPositions(sql).current(options) };
    await using cache = await openCache({ name: "failover", redis, positions, positionEveryMs: 100 });
    // This one never asks the database where it is: it learns from the others.
    await using other = await openCache({ name: "failover", redis: another });
    await sql.query("CREATE TABLE things (id int PRIMARY KEY, v text)");
    await sql.query("INSERT INTO things VALUES (1, 'kept')");
    const epoch = (await positions.current()).epoch;
    await vi.waitFor(async () => expect(await standby.sql("SELECT v FROM things")).toBe("kept"), {
      timeout: 10_000,
    });
    await standby.kill();
    await sql.query("UPDATE things SET v = 'lost'", []);
    expect([
      await cache.get("1", { load: () => read(sql) }),
      await other.get("1", { load: () => read(sql) }),
    ]).toEqual(["lost", "lost"]);
    await postgres.kill();
    await sql.close({ graceMs: 0 });
    await standby.start();
    await standby.sql("SELECT pg_promote()");
    sql = await openPostgres({ url: standby.url, max: 5 });
    try {
      await vi.waitFor(async () => expect((await positions.current()).epoch).toBe(epoch + 1n), {
        timeout: 10_000,
      });
      await vi.waitFor(async () => {
        expect(await other.get("1", { load: () => read(sql), ...LATEST })).toBe("kept");
        expect(await other.get("1", { load: () => read(sql) })).toBe("kept");
        expect(await cache.get("1", { load: () => read(sql) })).toBe("kept");
      });
    } finally {
      await cache.close();
      await sql.close();
    }
  });
});
