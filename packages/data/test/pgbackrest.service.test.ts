import { readdir, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { systemClock, systemRandom } from "@holdfast/kernel";
import {
  makeTempDirectory,
  type PostgresServer,
  runToEnd,
  startPostgres,
  type TempDirectory,
} from "@holdfast/testkit";
import { describeService } from "@holdfast/testkit/vitest";
import { afterAll, beforeAll, expect, it } from "vitest";
import {
  type Database,
  openPostgres,
  PgBackRestRepository,
  RestoredServer,
  type RunAs,
  runDrill,
} from "../src/index.ts";

describeService(["postgres", "pgbackrest"], "backup by pgBackRest", () => {
  let server: PostgresServer;
  let database: Database;
  let room: TempDirectory;
  let runAs: RunAs | undefined;
  let repository: PgBackRestRepository;

  beforeAll(async () => {
    server = await startPostgres({
      settings: {
        archive_mode: "on",
        wal_level: "replica",
        max_wal_senders: 4,
        unix_socket_directories: ".",
      },
    });
    const { uid, gid } = await stat(server.dataDirectory);
    runAs = process.getuid?.() === 0 ? { uid, gid } : undefined;
    room = await makeTempDirectory("holdfast-pgbackrest-", { owner: { name: "owner", uid, gid } });
    const configFile = join(room.path, "pgbackrest.conf");
    const lines = [
      "[global]",
      `repo1-path=${room.path}/repository`,
      `log-path=${room.path}`,
      `lock-path=${room.path}`,
      `spool-path=${room.path}`,
      "[main]",
      `pg1-path=${server.dataDirectory}`,
      `pg1-port=${server.port}`,
      `pg1-socket-path=${server.dataDirectory}`,
      "pg1-user=postgres",
    ];
    await writeFile(configFile, `${lines.join("\n")}\n`);
    repository = new PgBackRestRepository({ stanza: "main", configFile, runAs });
    await runToEnd("pgbackrest", [`--config=${configFile}`, "--stanza=main", "stanza-create"], {
      ...runAs,
      cwd: "/",
    });
    await server.sql(
      `ALTER SYSTEM SET archive_command = 'pgbackrest --config=${configFile} --stanza=main archive-push %p'`,
    );
    await server.sql("SELECT pg_reload_conf()");
    database = await openPostgres({ url: server.url });
    await database.query("CREATE TABLE notes (id int PRIMARY KEY, v text)");
    await database.query("INSERT INTO notes VALUES (1, 'before')");
  });
  afterAll(async () => {
    await database?.close();
    await server?.[Symbol.asyncDispose]();
    await room?.[Symbol.asyncDispose]();
  });

  it("backs up, verifies, restores to a name, passes a drill, and refuses what was damaged, as the plain tools do", async () => {
    const backup = await repository.backup({ label: "nightly = first" });
    expect(backup).toMatchObject({
      label: "nightly = first",
      timeline: 1,
      isArchived: true,
      verifiedAt: expect.any(String),
    });
    expect(backup.systemIdentifier).toMatch(/^\d{15,}$/);
    await database.query("SELECT pg_create_restore_point('here')");
    await database.query("INSERT INTO notes VALUES (2, 'after')");
    await database.query("SELECT pg_switch_wal()");
    const directory = join(room.path, "restored");
    await repository.restore({ directory, target: { kind: "name", name: "here" } });
    {
      await using copy = await RestoredServer.start({
        directory,
        runAs,
        clock: systemClock,
        random: systemRandom,
        timeoutMs: 30_000,
      });
      expect(await copy.database.query("SELECT v FROM notes")).toEqual([{ v: "before" }]);
    }
    await expect(repository.restore({ directory })).rejects.toMatchObject({ code: "BACKUP_RESTORE_TARGET" });
    const report = await runDrill({
      repository,
      directory: join(room.path, "drill"),
      runAs,
      target: { kind: "backup-end" },
    });
    expect(report).toMatchObject({ verdict: "passed", problems: [], restored: { epoch: { timeline: 2 } } });
    await expect(repository.verify("20010101-000000F")).rejects.toMatchObject({ code: "BACKUP_NOT_FOUND" });
    const files = join(room.path, "repository", "backup", "main", backup.id, "pg_data", "global");
    const [victim = ""] = (await readdir(files)).filter((name) => name.startsWith("pg_control"));
    await writeFile(join(files, victim), "not what was written");
    await expect(repository.verify(backup.id)).rejects.toMatchObject({ code: "BACKUP_CORRUPT" });
  });
});
