import { copyFile, open, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { systemClock, systemRandom } from "@holdfast/kernel";
import {
  makeTempDirectory,
  type PostgresServer,
  runToEnd,
  startPostgres,
  type TempDirectory,
} from "@holdfast/testkit";
import { describeService, expectFigure } from "@holdfast/testkit/vitest";
import { afterAll, beforeAll, expect, it, vi } from "vitest";
import {
  type BackupRecord,
  createVectorCollection,
  type Database,
  type DatabaseFingerprint,
  DirectoryRepository,
  type DrillEvidence,
  type DrillOptions,
  fingerprintDatabase,
  isEvidenceGenuine,
  openPostgres,
  RestoredServer,
  type RunAs,
  runDrill,
} from "../src/index.ts";
import { measuredOn } from "./measured-on.ts";
import { clusteredVectors } from "./vector-fixture.ts";

describeService(["postgres", "pgvector"], "backup and recovery of a PostgreSQL server", () => {
  let server: PostgresServer;
  let database: Database;
  let room: TempDirectory;
  let runAs: RunAs | undefined;
  let repository: DirectoryRepository;
  let backup: BackupRecord;
  let expected: DatabaseFingerprint;
  /** Between the rows "before" and "after". */
  let between: Date;
  const vectors = clusteredVectors(1_000, 16);
  const recall = {
    name: "vector recall",
    run: async (restored: Database): Promise<string | undefined> => {
      const items = createVectorCollection({ database: restored, table: "items", dimensions: 16 });
      const { meanRecall } = await items.measureRecall({ sampleCount: 20 });
      return meanRecall >= 0.95 ? undefined : `${meanRecall}`;
    },
  };

  beforeAll(async () => {
    server = await startPostgres({
      settings: { archive_mode: "on", wal_level: "replica", max_wal_senders: 4 },
    });
    const { uid, gid } = await stat(server.dataDirectory);
    runAs = process.getuid?.() === 0 ? { uid, gid } : undefined;
    room = await makeTempDirectory("holdfast-backup-", { owner: { name: "owner", uid, gid } });
    repository = new DirectoryRepository({
      directory: join(room.path, "repository"),
      url: server.url,
      runAs,
    });
    await repository.prepare();
    await server.sql(
      `ALTER SYSTEM SET archive_command = '${repository.archiveCommand.replaceAll("'", "''")}'`,
    );
    await server.sql("SELECT pg_reload_conf()");
    database = await openPostgres({ url: server.url });
    await database.query(
      "CREATE TABLE notes (id int PRIMARY KEY, v text CHECK (v <> ''), at timestamptz DEFAULT now())",
    );
    await database.query("CREATE TABLE parts (note int REFERENCES notes, n int UNIQUE)");
    await database.query("INSERT INTO notes SELECT g, 'note ' || g FROM generate_series(1, 500) g");
    await database.query("INSERT INTO parts SELECT g, g FROM generate_series(1, 500) g");
    const items = createVectorCollection({ database, table: "items", dimensions: 16 });
    await items.migrate();
    await items.load(vectors.map((vector, index) => ({ namespace: "n", key: `k${index}`, vector })));
    await items.buildIndex();
    backup = await repository.backup({ label: "first" });
    await database.query("INSERT INTO notes VALUES (1001, 'before')");
    expected = await fingerprintDatabase(database);
    between = await nextMoment();
    await database.query("INSERT INTO notes VALUES (1002, 'after')");
    await archiveAll();
  });
  afterAll(async () => {
    await database?.close();
    await server?.[Symbol.asyncDispose]();
    await room?.[Symbol.asyncDispose]();
  });

  /** A time of the server that lies between what was committed before the call and what is committed after it. */
  const nextMoment = async (): Promise<Date> => {
    const [row] = await database.query<{ at: Date }>("SELECT clock_timestamp() AS at");
    const at = new Date((row?.at.getTime() ?? 0) + 2);
    await database.query("SELECT pg_sleep(0.005)");
    return at;
  };
  const archiveAll = async (): Promise<void> => {
    const [row] = await database.query<{ name: string }>("SELECT pg_walfile_name(pg_switch_wal()) AS name");
    const path = join(repository.logDirectory, row?.name ?? "");
    await vi.waitFor(() => stat(path), { timeout: 10_000, interval: 20 });
  };
  const start = (directory: string): Promise<RestoredServer> =>
    RestoredServer.start({ directory, runAs, clock: systemClock, random: systemRandom, timeoutMs: 30_000 });
  const drill = (name: string, options: Partial<DrillOptions> = {}) =>
    runDrill({ repository, directory: join(room.path, name), runAs, ...options });
  /** A copy of the repository that may be damaged. */
  const copyOf = async (name: string): Promise<DirectoryRepository> => {
    const directory = join(room.path, name);
    await runToEnd("cp", ["-a", join(room.path, "repository"), directory]);
    return new DirectoryRepository({ directory, runAs });
  };

  it("describes what it made, verified, with the log that completes it", async () => {
    expect(backup).toMatchObject({
      label: "first",
      timeline: 1,
      isArchived: true,
      verifiedAt: expect.any(String),
    });
    expect(backup.sizeBytes).toBeGreaterThan(10_000_000);
    expect(await repository.list()).toEqual([backup]);
    const { log } = await repository.verify(backup.id);
    expect(log).toMatchObject({ missing: [] });
    expect(JSON.stringify(await repository.list())).not.toContain("password");
  });

  it("fails verification on one flipped byte, and on a missing file, and names the file", async () => {
    const flipped = await copyOf("flipped");
    const base = join(room.path, "flipped", "base", backup.id);
    const file = await open(join(base, "global", "pg_control"), "r+");
    const byte = Buffer.alloc(1);
    await file.read(byte, 0, 1, 100);
    await file.write(Buffer.from([(byte[0] ?? 0) ^ 1]), 0, 1, 100);
    await file.close();
    await expect(flipped.verify(backup.id)).rejects.toMatchObject({
      code: "BACKUP_CORRUPT",
      message: expect.stringContaining("pg_control"),
    });
    const target = join(room.path, "never");
    await expect(flipped.restore({ directory: target })).rejects.toMatchObject({ code: "BACKUP_CORRUPT" });
    expect(await readdir(room.path)).not.toContain("never");
    const cut = await copyOf("cut");
    await rm(join(room.path, "cut", "base", backup.id, "PG_VERSION"));
    await expect(cut.verify(backup.id)).rejects.toMatchObject({
      code: "BACKUP_CORRUPT",
      problems: [expect.stringContaining("PG_VERSION")],
    });
  });

  it("does not take a record that was being written for damage", async () => {
    const stopped = await copyOf("stopped");
    await writeFile(join(room.path, "stopped", "base", backup.id, "backup.json.part"), "{");
    expect(await stopped.verify(backup.id)).toMatchObject({ id: backup.id });
  });

  it("fails verification when a piece of the log is missing or cut", async () => {
    const gap = await copyOf("gap");
    const names = (await readdir(gap.logDirectory)).filter((name) => /^[0-9A-F]{24}$/.test(name)).sort();
    await writeFile(join(gap.logDirectory, names.at(-1) ?? ""), "cut");
    await expect(gap.verify(backup.id)).rejects.toMatchObject({
      problems: [expect.stringContaining(names.at(-1) ?? "")],
    });
    await rm(join(gap.logDirectory, names.at(-1) ?? ""));
    await rm(join(gap.logDirectory, names.at(-2) ?? ""));
    await copyFile(
      join(repository.logDirectory, names.at(-1) ?? ""),
      join(gap.logDirectory, names.at(-1) ?? ""),
    );
    await expect(gap.verify(backup.id)).rejects.toMatchObject({
      code: "BACKUP_CORRUPT",
      problems: [expect.stringContaining(names.at(-2) ?? "")],
    });
  });

  it("restores to a chosen time: what was committed before is there, nothing after, on a new timeline", async () => {
    const directory = join(room.path, "to-time");
    const restored = await repository.restore({ directory, target: { kind: "time", time: between } });
    expect(restored.backup.id).toBe(backup.id);
    await using copy = await start(directory);
    const rows = await copy.database.query("SELECT id, v FROM notes WHERE id > 1000 ORDER BY id");
    expect(rows).toEqual([{ id: 1001, v: "before" }]);
    const [timeline] = await copy.database.query<{ t: string }>(
      "SELECT substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8) AS t",
    );
    expect(timeline).toEqual({ t: "00000002" });
    await copy.database.query("INSERT INTO notes VALUES (1003, 'new history')");
    expect(await database.query("SELECT count(*)::int AS n FROM notes WHERE id = 1003")).toEqual([{ n: 0 }]);
  });

  it("restores to a name, and to the end of the backup", async () => {
    await database.query("SELECT pg_create_restore_point('release 7')");
    await database.query("INSERT INTO notes VALUES (1500, 'after the name')");
    await archiveAll();
    const ends: number[] = [];
    for (const [index, target] of (
      [{ kind: "name", name: "release 7" }, { kind: "backup-end" }, { kind: "latest" }] as const
    ).entries()) {
      const directory = join(room.path, `kind-${index}`);
      await repository.restore({ directory, target, verify: false });
      await using copy = await start(directory);
      const [row] = await copy.database.query<{ last: number }>("SELECT max(id) AS last FROM notes");
      ends.push(row?.last ?? 0);
    }
    expect(ends).toEqual([1002, 500, 1500]);
  });

  it("refuses a wrong target, and leaves the directory as it was, in a drill too", async () => {
    const directory = join(room.path, "wrong");
    const target = (time: string) => ({ kind: "time", time: new Date(time) }) as const;
    await expect(
      repository.restore({ directory, target: target("2001-01-01T00:00:00Z") }),
    ).rejects.toMatchObject({
      code: "BACKUP_RESTORE_TARGET",
      message: expect.stringContaining("before the end of the oldest backup"),
    });
    await expect(repository.restore({ directory, target: target("never") })).rejects.toMatchObject({
      field: "target.time",
    });
    await expect(
      repository.restore({ directory, target: { kind: "lsn", lsn: "0/3'; --" } }),
    ).rejects.toMatchObject({ field: "target.lsn" });
    await expect(repository.restore({ directory, id: "../base" })).rejects.toMatchObject({
      code: "BACKUP_NOT_FOUND",
    });
    await expect(repository.restore({ directory: room.path })).rejects.toMatchObject({
      message: expect.stringContaining("not empty"),
    });
    await expect(repository.restore({ directory: join(directory, "deeper") })).rejects.toMatchObject({
      code: "BACKUP_RESTORE_TARGET",
    });
    expect(await readdir(room.path)).not.toContain("wrong");
    const report = await runDrill({ repository, directory: join(room.path, "repository"), runAs });
    expect(report).toMatchObject({ verdict: "failed", problems: [expect.stringContaining("not empty")] });
    expect(await readdir(join(room.path, "repository", "base"))).toEqual([backup.id]);
  });

  it("says so when the target is never reached, and stops the server", async () => {
    const directory = join(room.path, "future");
    await repository.restore({ directory, target: { kind: "name", name: "never made" }, verify: false });
    await expect(start(directory)).rejects.toMatchObject({
      code: "BACKUP_RESTORE_FAILED",
      message: expect.stringMatching(/recovery ended before configured recovery target/),
    });
  });

  it("passes a drill with the same rows, indexes, constraints, block checksums and recall, and leaves signed evidence", async () => {
    const evidenceFile = join(room.path, "evidence.json");
    const epochs: unknown[] = [];
    const report = await drill("drill", {
      target: { kind: "time", time: between },
      expected,
      checks: [recall],
      evidenceFile,
      signingKey: "a key",
      onRestored: (epoch) => void epochs.push(epoch),
    });
    expect(report.problems).toEqual([]);
    expect(report).toMatchObject({
      verdict: "passed",
      backup: { id: backup.id },
      dataLossMaxMs: 300_000,
      downtimeMaxMs: 900_000,
    });
    expect(report.downtimeMs).toBeGreaterThan(0);
    expectFigure("work that a restore to a moment would lose", report.dataLossMs ?? Infinity, {
      unit: "ms",
      below: 10_000,
      on: [await measuredOn(database)],
    });
    expect(report.checks.map(({ name }) => name)).toEqual([
      "takes writes",
      "same rows, indexes and constraints",
      "vector recall",
      "block checksums",
    ]);
    // A cache whose epoch is that of the database serves nothing from before: the timeline is another one.
    expect(epochs).toEqual([{ systemIdentifier: backup.systemIdentifier, timeline: 2 }]);
    expect(report.restored?.epoch).toEqual(epochs[0]);
    expect(await readdir(room.path)).not.toContain("drill");
    const evidence = JSON.parse(await readFile(evidenceFile, "utf8")) as DrillEvidence;
    expect(evidence.report).toEqual(JSON.parse(JSON.stringify(report)));
    expect(isEvidenceGenuine(evidence, "a key")).toBe(true);
    expect(isEvidenceGenuine(evidence, "another key")).toBe(false);
    expect(isEvidenceGenuine({ ...evidence, report: { ...evidence.report, downtimeMs: 1 } })).toBe(false);
  });

  it("fails a drill over either limit, with the measured times", async () => {
    await database.query("INSERT INTO notes VALUES (1600, 'not archived yet')");
    const report = await drill("slow", { source: database, dataLossMaxMs: 0, downtimeMaxMs: 900_000 });
    expect(report.verdict).toBe("failed");
    expect(report.dataLossMs).toBeGreaterThan(0);
    expect(report.problems).toEqual([
      expect.stringMatching(/^\d+ ms of work would be lost; 0 ms are allowed$/),
    ]);
    const late = await drill("late", { downtimeMaxMs: 1 });
    expect(late.verdict).toBe("failed");
    expect(late.problems.join()).toMatch(/took \d+ ms until writes; 1 ms are allowed|takes no writes/);
  });

  it("fails a drill when the vector index, a row or a constraint is missing", async () => {
    await database.query(
      "DROP INDEX items_hnsw_plain; ALTER TABLE notes DROP CONSTRAINT notes_v_check; DELETE FROM parts WHERE n = 7",
    );
    const gone = await nextMoment();
    await database.query("CREATE INDEX items_hnsw_plain ON items USING hnsw (embedding vector_cosine_ops)");
    await archiveAll();
    const report = await drill("missing", {
      target: { kind: "time", time: gone },
      expected,
      checks: [recall],
    });
    expect(report.verdict).toBe("failed");
    const problems = report.problems.join("; ");
    expect(problems).toContain("index public.items_hnsw_plain is missing or not valid");
    expect(problems).toContain("constraint public.notes.notes_v_check is missing");
    expect(problems).toContain("table public.parts has 499 rows instead of 500");
    expect(problems).toMatch(/vector recall: .*buildIndex first/);
  });

  it("removes what the policy does not keep, with the log that only those needed, and still restores", async () => {
    const second = await repository.backup({ verify: false });
    const third = await repository.backup();
    expect(third.verifiedAt).toBeDefined();
    const report = await repository.prune({ dailyCount: 1, weeklyCount: 0, monthlyCount: 0 });
    expect(report.removed).toEqual([backup.id, second.id]);
    expect(report.removedSegmentCount).toBeGreaterThan(0);
    expect((await repository.list()).map(({ id }) => id)).toEqual([third.id]);
    expect(await drill("pruned", { checks: [recall] })).toMatchObject({ verdict: "passed" });
  });

  it("lists no backup whose log does not arrive, and says what to set", async () => {
    const elsewhere = new DirectoryRepository({
      directory: join(room.path, "elsewhere"),
      url: server.url,
      runAs,
      archiveTimeoutMs: 300,
    });
    await expect(elsewhere.backup()).rejects.toMatchObject({
      code: "BACKUP_LOG_NOT_ARCHIVED",
      message: expect.stringContaining("set archive_command = "),
    });
    expect(await elsewhere.list()).toEqual([]);
    expect(await readdir(join(room.path, "elsewhere", "base"))).toEqual([]);
    const nobody = new DirectoryRepository({
      directory: join(room.path, "nobody"),
      url: "postgres://x:s3cret@127.0.0.1:1/x",
      runAs,
    });
    const error = await nobody.backup().catch((reason: Error) => reason);
    expect(error).toMatchObject({ code: "SQL_CONNECT_FAILED" });
    expect(String(error)).not.toContain("s3cret");
  });

  it("keeps nothing of a backup whose record cannot be written", async () => {
    const before = await readdir(join(room.path, "repository", "base"));
    const label = {
      toJSON: () => {
        throw new Error("the disk is full");
      },
    } as unknown as string;
    await expect(repository.backup({ label, verify: false })).rejects.toThrow("the disk is full");
    expect(await readdir(join(room.path, "repository", "base"))).toEqual(before);
  });
});
