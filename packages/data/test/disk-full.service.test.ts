import { join } from "node:path";
import { seededRandom } from "@holdfast/kernel";
import { makeTempDirectory, mountSmallDisk, serviceUser, startPostgres } from "@holdfast/testkit";
import { describeService } from "@holdfast/testkit/vitest";
import { expect, it } from "vitest";
import { openPostgres } from "../src/index.ts";
import { FaultyCluster } from "./failover/faulty-cluster.ts";
import { Ledger } from "./failover/ledger.ts";
import { failOver } from "./failover/run-failovers.ts";

describeService(["postgres", "small-disk"], "a server whose disk is full", () => {
  it("is told so by type, keeps nothing of the statement or the load, and goes on once there is room", async () => {
    await using room = await makeTempDirectory("holdfast-full-", { owner: serviceUser() });
    await using disk = await mountSmallDisk(join(room.path, "disk"), { sizeMiB: 8, owner: serviceUser() });
    // After the disk, so that it stops before its disk goes away.
    await using server = await startPostgres();
    await using database = await openPostgres({ url: server.url });
    await database.query(`CREATE TABLESPACE small LOCATION '${disk.path}'`);
    await database.query("CREATE TABLE notes (id int PRIMARY KEY, text text) TABLESPACE small");
    await database.query("INSERT INTO notes VALUES (1, 'before')", []);
    await disk.fill();
    // What does not compress, so that it needs the room.
    const fill =
      "INSERT INTO notes SELECT g, (SELECT string_agg(md5((g * h)::text), '') FROM generate_series(1, 40) h) FROM generate_series(2, 2000) g";
    const full = { code: "SQL_DISK_FULL" };
    await expect(database.query(fill, [])).rejects.toMatchObject(full);
    const both = database.transaction(async (tx) => {
      await tx.query("UPDATE notes SET text = 'never'", []);
      await tx.query(fill, []);
    });
    await expect(both).rejects.toMatchObject(full);
    expect(await database.query("SELECT * FROM notes", [])).toEqual([{ id: 1, text: "before" }]);
    await disk.free();
    await database.query("INSERT INTO notes VALUES (2, 'after')", []);
    expect(await database.query("SELECT count(*)::int AS count FROM notes", [])).toEqual([{ count: 2 }]);
  });
});

describeService(["patroni", "small-disk"], "a leader whose disk is full to the last byte", () => {
  it("is replaced, with no acknowledged write lost and no refused one kept", async () => {
    await using cluster = await FaultyCluster.start({
      nodeCount: 2,
      diskMiB: 512,
      settings: { max_wal_size: "128MB" },
    });
    await using database = await cluster.open();
    const ledger = new Ledger(database, seededRandom(1));
    await ledger.start(3);
    const { from, to } = await failOver(cluster, database, ledger, "full disk", 90_000);
    expect(to).not.toBe(from);
    const counts = await ledger.finish();
    expect(ledger.violations).toEqual([]);
    expect(counts.acknowledged).toBeGreaterThan(20);
  }, 240_000);
});
