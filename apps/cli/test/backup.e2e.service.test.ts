import { readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import type { BackupRecord, DrillReport } from "@holdfast/data";
import { makeTempDirectory, type PostgresServer, startPostgres, type TempDirectory } from "@holdfast/testkit";
import { describeService } from "@holdfast/testkit/vitest";
import { afterAll, beforeAll, expect, it } from "vitest";
import { runHoldfast } from "./holdfast-command.ts";

describeService("postgres", "backup from the command line", () => {
  let server: PostgresServer;
  let room: TempDirectory;
  let env: Record<string, string>;
  beforeAll(async () => {
    server = await startPostgres({ settings: { archive_mode: "on", wal_level: "replica" } });
    const { uid, gid } = await stat(server.dataDirectory);
    room = await makeTempDirectory("holdfast-backup-cli-", { owner: { name: "owner", uid, gid } });
    env = { HOLDFAST_BACKUP_REPOSITORY: join(room.path, "repository"), HOLDFAST_DATABASE: server.url };
  });
  afterAll(async () => {
    await server?.[Symbol.asyncDispose]();
    await room?.[Symbol.asyncDispose]();
  });

  const ask = async <T>(
    ...args: readonly string[]
  ): Promise<{ readonly code: number | null; readonly answer: T }> => {
    const end = await runHoldfast(["ha", ...args, "--json"], { env, cwd: room.path });
    const last = end.lines.at(-1);
    if (last === undefined) throw new Error(`holdfast ha ${args.join(" ")} printed nothing:\n${end.output}`);
    return { code: end.code, answer: JSON.parse(last) as T };
  };

  it(
    "makes, lists and verifies a backup, restores it, and passes a drill with evidence",
    { timeout: 120_000 },
    async () => {
      const { answer: told } = await ask<{ archiveCommand: string }>("backup", "--archive-command");
      await server.sql(`ALTER SYSTEM SET archive_command = '${told.archiveCommand.replaceAll("'", "''")}'`);
      await server.sql("SELECT pg_reload_conf()");
      const { code, answer } = await ask<{ backup: BackupRecord }>("backup", "--label", "nightly");
      expect(code).toBe(0);
      expect(answer.backup).toMatchObject({ label: "nightly", isArchived: true, timeline: 1 });
      const { answer: list } = await ask<{ backups: BackupRecord[] }>("backup", "--list");
      expect(list.backups).toEqual([JSON.parse(JSON.stringify(answer.backup))]);
      const restored = await ask("restore", "--to", join(room.path, "restored"), "--backup-end");
      expect(restored).toMatchObject({ code: 0, answer: { directory: join(room.path, "restored") } });
      const again = await ask("restore", "--to", join(room.path, "restored"));
      expect(again).toMatchObject({ code: 1, answer: { error: { code: "BACKUP_RESTORE_TARGET" } } });
      const evidence = join(room.path, "evidence.json");
      const drill = await ask<DrillReport>("drill", "--evidence", evidence, "--data-loss-max", "1h");
      expect(drill).toMatchObject({ code: 0, answer: { verdict: "passed", problems: [] } });
      expect(JSON.parse(await readFile(evidence, "utf8"))).toMatchObject({ report: { verdict: "passed" } });
      const missed = await ask<DrillReport>("drill", "--downtime-max", "1ms");
      expect(missed).toMatchObject({ code: 1, answer: { verdict: "failed" } });
    },
  );

  it(
    "ends with 2 on wrong usage, and with 1 and the reason on what cannot be",
    { timeout: 60_000 },
    async () => {
      expect((await ask("drill", "--lsn", "0/1", "--name", "x")).code).toBe(2);
      expect(await ask("backup", "--verify-only", "nothing")).toMatchObject({
        code: 1,
        answer: { error: { code: "BACKUP_NOT_FOUND" } },
      });
    },
  );
});
