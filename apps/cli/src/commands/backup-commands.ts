import { execFileSync } from "node:child_process";
import { resolve } from "node:path";
import {
  type BackupRecord,
  type BackupRepository,
  DirectoryRepository,
  openPostgres,
  PgBackRestRepository,
  type RecoveryRecord,
  type RestoreTarget,
  type RunAs,
  runDrill,
} from "@holdfast/data";
import { Command, Option } from "commander";
import { duration, wholeNumber } from "../flags.ts";
import { formatDuration } from "../terminal/format.ts";
import { UsageError } from "../terminal/problem.ts";
import type { Session } from "../terminal/session.ts";
import { renderTable } from "../terminal/table.ts";
import type { ExitCode } from "./exit-code.ts";

interface RepositoryFlags {
  readonly repository?: string;
  readonly stanza?: string;
  readonly pgbackrestConfig?: string;
  readonly database?: string;
  readonly runAs?: string;
  readonly json?: boolean;
}

interface TargetFlags {
  readonly backup?: string;
  readonly time?: string;
  readonly lsn?: string;
  readonly transaction?: string;
  readonly name?: string;
  readonly backupEnd?: boolean;
}

/** `holdfast ha backup`, `restore` and `drill`. */
export const backupCommands = (session: Session, exit: ExitCode): readonly Command[] => [
  backupCommand(session),
  restoreCommand(session),
  drillCommand(session, exit),
];

const withRepositoryFlags = (command: Command): Command =>
  command
    .option("--repository <dir>", "directory of the backups and the log (HOLDFAST_BACKUP_REPOSITORY)")
    .option("--stanza <name>", "use pgBackRest, with this stanza, instead of a directory")
    .option("--pgbackrest-config <file>", "pgBackRest's configuration (default its own place)")
    .option("--database <url>", "the PostgreSQL server (HOLDFAST_DATABASE)")
    .option("--run-as <user>", "user that runs PostgreSQL's programs when you are root (default postgres)")
    .option("--json", "print one JSON document");

const withTargetFlags = (command: Command): Command =>
  command
    .option("--backup <id>", "from this backup (default the newest that the target allows)")
    .option("--time <time>", "to what was committed until then, for example 2026-11-21T06:30:00Z")
    .option("--lsn <position>", "to this position of the log")
    .option("--transaction <id>", "to this transaction")
    .option("--name <name>", "to this restore point")
    .option("--backup-end", "to the end of the backup itself");

const keep = (period: "daily" | "weekly" | "monthly", count: number): Option =>
  new Option(`--keep-${period} <count>`, `${period} backups that --prune keeps (default ${count})`).argParser(
    wholeNumber(`--keep-${period}`, 0, 10_000),
  );

const backupCommand = (session: Session): Command =>
  withRepositoryFlags(new Command("backup"))
    .description("back the PostgreSQL server up, or list, verify and prune its backups")
    .option("--label <text>", "shown in the list")
    .option("--no-verify", "do not compare the new backup with its manifest")
    .option("--list", "list the backups")
    .option("--recoveries", "list what was restored and drilled, and what became of it")
    .option("--verify-only <id>", "compare a backup with its manifest and look for gaps in the log")
    .option("--prune", "remove what is not kept")
    .addOption(keep("daily", 7))
    .addOption(keep("weekly", 4))
    .addOption(keep("monthly", 6))
    .option("--archive-command", "print what the server's archive_command must be")
    .action(
      async (
        flags: RepositoryFlags & {
          label?: string;
          verify: boolean;
          list?: boolean;
          recoveries?: boolean;
          verifyOnly?: string;
          prune?: boolean;
          keepDaily?: number;
          keepWeekly?: number;
          keepMonthly?: number;
          archiveCommand?: boolean;
        },
      ) => {
        const repository = openRepository(session, flags);
        const { signal } = session;
        const tell = (document: unknown, line: string): void => {
          if (flags.json) session.printJson(document);
          else session.print(line);
        };
        if (flags.archiveCommand) {
          if (!(repository instanceof DirectoryRepository)) {
            throw new UsageError("--archive-command is for a directory: pgBackRest has its own archive-push");
          }
          await repository.prepare();
          const { archiveCommand } = repository;
          tell({ archiveCommand }, archiveCommand);
        } else if (flags.list) {
          const backups = await repository.list({ signal });
          tell(
            { backups },
            backups.length === 0 ? "there is no backup yet: holdfast ha backup" : tableOf(session, backups),
          );
        } else if (flags.recoveries) {
          const recoveries = await repository.recoveries();
          tell(
            { recoveries },
            recoveries.length === 0 ? "nothing was restored yet" : recoveryTable(session, recoveries),
          );
        } else if (flags.verifyOnly !== undefined) {
          const report = await repository.verify(flags.verifyOnly, { signal });
          tell(report, `${report.id} is what was written`);
        } else if (flags.prune) {
          const { keepDaily, keepWeekly, keepMonthly } = flags;
          const policy = { dailyCount: keepDaily, weeklyCount: keepWeekly, monthlyCount: keepMonthly };
          const report = await repository.prune(policy, { signal });
          tell(report, `removed ${report.removed.length} backups, kept ${report.kept.length}`);
        } else {
          const backup = await repository.backup({ label: flags.label, verify: flags.verify, signal });
          tell({ backup }, tableOf(session, [backup]));
          if (!backup.isArchived && !flags.json) {
            session.print(
              `${session.style("yellow", "note")} the server archives no log, so only the end of this backup can be restored; ` +
                "set archive_mode = on and archive_command to what --archive-command prints",
            );
          }
        }
      },
    );

const restoreCommand = (session: Session): Command =>
  withTargetFlags(withRepositoryFlags(new Command("restore")))
    .description("prepare a new data directory from a backup, to start PostgreSQL from")
    .requiredOption("--to <dir>", "where to: missing or empty")
    .action(async (flags: RepositoryFlags & TargetFlags & { to: string }) => {
      const repository = openRepository(session, flags);
      const restored = await repository.restore({
        directory: resolve(session.cwd, flags.to),
        id: flags.backup,
        target: targetOf(flags),
        signal: session.signal,
      });
      if (flags.json) return session.printJson(restored);
      session.print(`${restored.directory} is ready, from backup ${restored.backup.id}`);
      session.print(
        `${session.style("dim", "next")}  start PostgreSQL on it (pg_ctl -D ${restored.directory} start): it recovers, becomes a primary on a ` +
          "new timeline, and caches drop what they knew of the old one",
      );
    });

const drillCommand = (session: Session, exit: ExitCode): Command =>
  withTargetFlags(withRepositoryFlags(new Command("drill")))
    .description(
      "restore a backup for real, look whether all is there, and measure what a disaster would cost",
    )
    .option("--to <dir>", "where the copy lives meanwhile", "holdfast-drill")
    .option("--evidence <file>", "where to write what was found")
    .option("--keep", "leave the copy where it is")
    .addOption(
      new Option("--data-loss-max <time>", "work that may be lost (default 5m)").argParser(
        duration("--data-loss-max"),
      ),
    )
    .addOption(
      new Option("--downtime-max <time>", "time until the copy takes writes (default 15m)").argParser(
        duration("--downtime-max"),
      ),
    )
    .action(
      async (
        flags: RepositoryFlags &
          TargetFlags & {
            to: string;
            evidence?: string;
            keep?: boolean;
            dataLossMax?: number;
            downtimeMax?: number;
          },
      ) => {
        const url = flags.database ?? session.env.HOLDFAST_DATABASE;
        await using source =
          url === undefined
            ? undefined
            : await openPostgres({ url, max: 1, clock: session.clock, signal: session.signal });
        const report = await runDrill({
          repository: openRepository(session, flags),
          directory: resolve(session.cwd, flags.to),
          target: targetOf(flags),
          source,
          dataLossMaxMs: flags.dataLossMax,
          downtimeMaxMs: flags.downtimeMax,
          evidenceFile: flags.evidence === undefined ? undefined : resolve(session.cwd, flags.evidence),
          signingKey: session.env.HOLDFAST_EVIDENCE_KEY,
          keep: flags.keep,
          runAs: runAsOf(flags.runAs),
          clock: session.clock,
          signal: session.signal,
        });
        exit.code = report.verdict === "passed" ? 0 : 1;
        if (flags.json) return session.printJson(report);
        const time = (ms: number | undefined): string =>
          ms === undefined ? "not measured" : formatDuration(ms);
        session.print(
          `${session.style(report.verdict === "passed" ? "green" : "red", report.verdict)}  work lost ${time(report.dataLossMs)} ` +
            `(allowed ${formatDuration(report.dataLossMaxMs)}), takes writes after ${time(report.downtimeMs)} (allowed ${formatDuration(report.downtimeMaxMs)})`,
        );
        for (const { name, problem } of report.checks) {
          session.print(
            `  ${problem === undefined ? session.style("green", "ok") : session.style("red", "no")}  ${name}`,
          );
        }
        for (const problem of report.problems) session.print(`  ${session.style("red", problem)}`);
      },
    );

const openRepository = (session: Session, flags: RepositoryFlags): BackupRepository => {
  const runAs = runAsOf(flags.runAs);
  const { clock } = session;
  if (flags.stanza !== undefined) {
    return new PgBackRestRepository({
      stanza: flags.stanza,
      configFile: flags.pgbackrestConfig,
      runAs,
      clock,
    });
  }
  const directory = flags.repository ?? session.env.HOLDFAST_BACKUP_REPOSITORY;
  if (directory === undefined)
    throw new UsageError("name the backups by --repository DIR, or pgBackRest's by --stanza NAME");
  return new DirectoryRepository({
    directory: resolve(session.cwd, directory),
    url: flags.database ?? session.env.HOLDFAST_DATABASE,
    runAs,
    clock,
  });
};

const targetOf = (flags: TargetFlags): RestoreTarget => {
  const targets: RestoreTarget[] = [
    ...(flags.time === undefined ? [] : [{ kind: "time", time: new Date(flags.time) } as const]),
    ...(flags.lsn === undefined ? [] : [{ kind: "lsn", lsn: flags.lsn } as const]),
    ...(flags.transaction === undefined ? [] : [{ kind: "transaction", id: flags.transaction } as const]),
    ...(flags.name === undefined ? [] : [{ kind: "name", name: flags.name } as const]),
    ...(flags.backupEnd === true ? [{ kind: "backup-end" } as const] : []),
  ];
  const [target = { kind: "latest" as const }, another] = targets;
  if (another !== undefined)
    throw new UsageError("name one target: --time, --lsn, --transaction, --name or --backup-end");
  if (target.kind === "time" && Number.isNaN(target.time.getTime())) {
    throw new UsageError(
      `--time must be a time such as 2026-11-21T06:30:00Z, got ${JSON.stringify(flags.time)}`,
    );
  }
  return target;
};

/** PostgreSQL refuses to run as root, so root steps down. */
const runAsOf = (user: string | undefined): RunAs | undefined => {
  if (process.getuid?.() !== 0) {
    if (user !== undefined) throw new UsageError("--run-as is for root; you are not root");
    return undefined;
  }
  const name = user ?? "postgres";
  const idOf = (flag: "-u" | "-g"): number => {
    try {
      return Number(
        execFileSync("id", [flag, "--", name], { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] }),
      );
    } catch {
      throw new UsageError(`there is no user ${name}: name the one that runs PostgreSQL with --run-as`);
    }
  };
  return { uid: idOf("-u"), gid: idOf("-g") };
};

const recoveryTable = (session: Session, recoveries: readonly RecoveryRecord[]): string =>
  renderTable(
    recoveries,
    [
      { title: "what", value: ({ kind }) => kind },
      { title: "begun", value: ({ startedAt }) => startedAt },
      { title: "ended", value: ({ finishedAt }) => finishedAt ?? "-" },
      { title: "state", value: ({ state }) => session.style(state === "succeeded" ? "green" : "red", state) },
      {
        title: "target",
        value: ({ target }) => (target.kind === "time" ? target.time.toISOString() : target.kind),
      },
      { title: "backup", value: ({ backupId }) => backupId ?? "-" },
      { title: "problem", value: ({ problem }) => problem ?? "", maxWidth: 80 },
    ],
    session.style,
  );

const tableOf = (session: Session, backups: readonly BackupRecord[]): string =>
  renderTable(
    backups,
    [
      { title: "backup", value: (backup) => backup.id },
      { title: "finished", value: (backup) => backup.finishedAt },
      { title: "timeline", value: (backup) => String(backup.timeline), align: "right" },
      { title: "until", value: (backup) => backup.stopLsn },
      { title: "MiB", value: (backup) => (backup.sizeBytes / (1 << 20)).toFixed(1), align: "right" },
      {
        title: "verified",
        value: (backup) => backup.verifiedAt ?? session.style("yellow", "not yet"),
      },
      { title: "log", value: (backup) => (backup.isArchived ? "archived" : session.style("yellow", "none")) },
      { title: "label", value: (backup) => backup.label ?? "-" },
    ],
    session.style,
  );
