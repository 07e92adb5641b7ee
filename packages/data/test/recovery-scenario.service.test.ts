import { join } from "node:path";
import { systemClock, systemRandom } from "@holdfast/kernel";
import { makeTempDirectory, serviceUser, startPatroniCluster, waitUntil } from "@holdfast/testkit";
import { describeService } from "@holdfast/testkit/vitest";
import { expect, it } from "vitest";
import { DirectoryRepository, openCluster, RestoredServer, runDrill } from "../src/index.ts";

describeService(
  "patroni",
  "a cluster that fails over, is backed up, and is restored to before a mistake",
  () => {
    it("routes to who was promoted, validates the backup, brings the rows back, and has all of it in its history", async () => {
      const user = serviceUser();
      const { uid, gid } = user;
      const runAs = uid === undefined || gid === undefined ? undefined : { uid, gid };
      await using room = await makeTempDirectory("holdfast-recovery-", { owner: user });
      const directory = join(room.path, "repository");
      const { archiveCommand } = new DirectoryRepository({ directory, runAs });
      await new DirectoryRepository({ directory, runAs }).prepare();
      await using servers = await startPatroniCluster({
        nodeCount: 2,
        synchronous: true,
        settings: { archive_mode: "on", archive_command: archiveCommand },
      });
      await using database = await openCluster({
        url: "postgres://postgres@127.0.0.1/postgres",
        discovery: {
          kind: "patroni",
          urls: servers.nodes.map(({ restPort }) => `http://127.0.0.1:${restPort}`),
        },
        primaryWaitMs: 60_000,
      });
      const write = (what: string) =>
        database.query("INSERT INTO notes VALUES ($1)", [what], { timeoutMs: 90_000 });
      await database.query("CREATE TABLE notes (what text PRIMARY KEY)", []);
      await write("before the failure");

      // The primary fails; the other one is promoted and written to.
      const failed = await servers.waitForLeader();
      await failed.kill();
      await waitUntil("another primary", () => database.status().timeline === 2, { timeoutMs: 60_000 });
      await write("after the failure");
      const promoted = database.status().primary;
      expect(promoted).not.toBe(failed.name);
      const leader = servers.nodes.find(({ name }) => name === promoted);

      // Its backup is made, and proven by a restore on trial.
      const repository = new DirectoryRepository({ directory, url: leader?.url, runAs });
      const backup = await repository.backup();
      expect((await repository.verify(backup.id)).log).toMatchObject({ missing: [] });
      const drill = await runDrill({ repository, directory: join(room.path, "drill"), runAs });
      expect(drill).toMatchObject({ verdict: "passed", problems: [] });

      // Somebody makes a mistake; a copy of the moment before has the rows.
      await write("wanted");
      const [moment] = await database.query<{ at: Date }>("SELECT clock_timestamp() AS at", []);
      await database.query("SELECT pg_sleep(0.005)", []);
      await database.query("DELETE FROM notes", []);
      const [segment] = await database.query<{ name: string }>(
        "SELECT pg_walfile_name(pg_switch_wal()) AS name",
      );
      await waitUntil("the log to be archived", async () => {
        const log = await repository.log(backup.id);
        return log !== undefined && log.last >= (segment?.name ?? "");
      });
      const copy = join(room.path, "copy");
      const time = new Date((moment?.at.getTime() ?? 0) + 2);
      await repository.restore({ directory: copy, target: { kind: "time", time } });
      const restored = await RestoredServer.start({
        directory: copy,
        runAs,
        clock: systemClock,
        random: systemRandom,
        timeoutMs: 60_000,
      });
      try {
        const rows = await restored.database.query<{ what: string }>(
          "SELECT what FROM notes ORDER BY what",
          [],
        );
        expect(rows.map(({ what }) => what)).toEqual(["after the failure", "before the failure", "wanted"]);
      } finally {
        await restored.stop();
      }

      // What happened is on record: the failover with the servers, the recoveries with the backups.
      expect((await database.history()).map(({ timeline }) => timeline)).toEqual([1]);
      expect(await repository.recoveries()).toMatchObject([
        { kind: "drill", state: "succeeded", backupId: backup.id, target: { kind: "latest" } },
        { kind: "restore", state: "succeeded", backupId: backup.id, target: { kind: "time", time } },
      ]);
    }, 180_000);
  },
);
