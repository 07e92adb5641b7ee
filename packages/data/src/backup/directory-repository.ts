import { chown, mkdir, readdir, rename, rm, stat } from "node:fs/promises";
import { join, resolve } from "node:path";
import {
  type Abortable,
  type Clock,
  type Logger,
  type Random,
  randomHex,
  silentLogger,
  systemClock,
  systemRandom,
} from "@holdfast/kernel";
import { openPostgres } from "../postgres/open-postgres.ts";
import type { Database } from "../sql/database.ts";
import { integerOption } from "../sql/integer-option.ts";
import { BackupArchiveError, BackupCorruptError, BackupToolError } from "./backup-errors.ts";
import { archiveCommand, pruneLog, reportLog, restoreCommand, segmentName } from "./log-archive.ts";
import { type ManifestFacts, readManifest } from "./manifest.ts";
import { RECORD, RECORD_DRAFT, RecordStore, type StoredRecord } from "./record-store.ts";
import { RecoveryLog, type RecoveryRecord, recordRestore } from "./recovery-log.ts";
import type {
  BackupRecord,
  BackupRepository,
  BackupRequest,
  LogReport,
  PruneReport,
  RestoredDirectory,
  RestoreRequest,
  RetentionPolicy,
  VerifyReport,
} from "./repository.ts";
import { prepareDirectory, writeRecovery } from "./restore-directory.ts";
import { checkTarget, chooseBackup } from "./restore-target.ts";
import { keptBackups } from "./retention.ts";
import { readServer, type ServerFacts, withoutPassword } from "./server-facts.ts";
import { findBinDirectory, type RunAs, runTool, type ToolResult } from "./tool.ts";

export interface DirectoryRepositoryOptions {
  /** Where the backups and the log are kept; on another disk than the server's, or they are lost together. */
  readonly directory: string;
  /**
   * The server, as a role that may replicate and read `pg_settings`. Only `backup` needs it: a lost server can be
   * restored without.
   */
  readonly url?: string | undefined;
  /** Where PostgreSQL's programs are. Default: Debian's place for the server's version, else the usual path. */
  readonly binDirectory?: string | undefined;
  readonly runAs?: RunAs | undefined;
  /** How long `backup` waits for the log that completes it to arrive. Milliseconds, 0 to 86_400_000; default 60_000. */
  readonly archiveTimeoutMs?: number | undefined;
  readonly clock?: Clock | undefined;
  readonly random?: Random | undefined;
  readonly logger?: Logger | undefined;
}

const ARCHIVE_POLL_MS = 100;
const ARCHIVE_TIMEOUT_MAX_MS = 86_400_000;
/** How the directory of a backup ends that is being removed. */
const GONE = ".gone";

/** Backups by pg_basebackup in a directory, checked by pg_verifybackup, with the server's log beside them. */
export class DirectoryRepository implements BackupRepository {
  readonly kind = "postgres";
  readonly #options: DirectoryRepositoryOptions;
  readonly #root: string;
  readonly #archiveTimeoutMs: number;
  readonly #clock: Clock;
  readonly #random: Random;
  readonly #logger: Logger;
  readonly #records: RecordStore;
  readonly recoveryLog: RecoveryLog;

  /** @throws InvalidInputError naming the option. */
  constructor(options: DirectoryRepositoryOptions) {
    const { archiveTimeoutMs = 60_000 } = options;
    this.#archiveTimeoutMs = integerOption("archiveTimeoutMs", archiveTimeoutMs, 0, ARCHIVE_TIMEOUT_MAX_MS);
    this.#options = options;
    this.#root = resolve(options.directory);
    this.#clock = options.clock ?? systemClock;
    this.#random = options.random ?? systemRandom;
    this.#logger = options.logger ?? silentLogger;
    const { runAs } = options;
    this.#records = new RecordStore({ root: this.#root, runAs });
    const file = join(this.#root, "recoveries.jsonl");
    this.recoveryLog = new RecoveryLog({
      file,
      runAs,
      clock: this.#clock,
      random: this.#random,
      logger: this.#logger,
    });
  }

  /** Where the log is kept. */
  get logDirectory(): string {
    return join(this.#root, "log");
  }

  /** What the server's `archive_command` must be, besides `archive_mode = on` and an `archive_timeout`. */
  get archiveCommand(): string {
    return archiveCommand(this.logDirectory);
  }

  /** Makes the directories, so that the server can begin to archive. Idempotent. */
  async prepare(): Promise<void> {
    const { runAs } = this.#options;
    for (const path of [this.#root, join(this.#root, "base"), this.logDirectory]) {
      const made = await mkdir(path, { recursive: true, mode: 0o700 });
      if (made !== undefined && runAs !== undefined) await chown(path, runAs.uid, runAs.gid);
    }
  }

  async backup(request: BackupRequest = {}): Promise<BackupRecord> {
    const { url } = this.#options;
    if (url === undefined)
      throw new BackupArchiveError("no server was named, so there is nothing to back up");
    const { signal } = request;
    await this.prepare();
    await using database = await openPostgres({
      url,
      max: 1,
      clock: this.#clock,
      random: this.#random,
      signal,
    });
    const server = await readServer(database);
    if (server.tablespaceCount > 0) {
      throw new BackupArchiveError(
        "the server has tablespaces of its own, which a plain directory does not keep: use pgBackRest",
      );
    }
    const isArchived = this.#isArchived(server);
    const startedAt = new Date(this.#clock.wallNow()).toISOString();
    const id = `${startedAt.slice(0, 19).replaceAll(/[-:]/g, "").replace("T", "-")}-${randomHex(this.#random, 2)}`;
    const path = join(this.#root, "base", id);
    const draft = join(this.#root, "base", `.${id}.part`);
    try {
      const { connection, env } = withoutPassword(url);
      await this.#run(
        server.major,
        "pg_basebackup",
        [
          "-D",
          draft,
          "-d",
          connection,
          "-c",
          "fast",
          "-X",
          "stream",
          "--manifest-checksums=SHA256",
          "--no-password",
        ],
        { signal, env },
      );
      const manifest = await readManifest(join(draft, "backup_manifest"));
      if (isArchived) await this.#waitForLog(database, server, manifest, signal);
      const verified = request.verify ?? true;
      if (verified) await this.#compare(id, draft, server.major, signal);
      const now = new Date(this.#clock.wallNow()).toISOString();
      const record: StoredRecord = {
        id,
        label: request.label,
        startedAt,
        finishedAt: now,
        systemIdentifier: server.systemIdentifier,
        serverVersion: server.version,
        timeline: manifest.timeline,
        startLsn: manifest.startLsn,
        stopLsn: manifest.stopLsn,
        sizeBytes: manifest.sizeBytes,
        verifiedAt: verified ? now : undefined,
        isArchived,
        segmentBytes: server.segmentBytes,
      };
      // Before it has its place: a backup without a record is never listed, and so never removed.
      await this.#records.write(record, draft);
      await rename(draft, path);
      if (!isArchived) {
        this.#logger.warn(
          { id },
          "the backup has no log archive: only its own end can be restored; set archive_mode and archive_command",
        );
      }
      return publicRecord(record);
    } catch (error) {
      await rm(draft, { recursive: true, force: true });
      throw error;
    }
  }

  async list(): Promise<readonly BackupRecord[]> {
    return (await this.#records.list()).map(publicRecord);
  }

  async verify(id: string, options: Abortable = {}): Promise<VerifyReport> {
    const record = await this.#records.get(id);
    await this.#compare(
      id,
      join(this.#root, "base", id),
      Number.parseInt(record.serverVersion, 10),
      options.signal,
    );
    const log = await this.#checkLog(record);
    const verifiedAt = new Date(this.#clock.wallNow()).toISOString();
    await this.#records.write({ ...record, verifiedAt });
    return { id, verifiedAt, log };
  }

  restore(request: RestoreRequest): Promise<RestoredDirectory> {
    return recordRestore(this.recoveryLog, request, () => this.#restore(request));
  }

  recoveries(): Promise<readonly RecoveryRecord[]> {
    return this.recoveryLog.list();
  }

  async #restore(request: RestoreRequest): Promise<RestoredDirectory> {
    const { target = { kind: "latest" }, signal, runAs } = { ...request, runAs: this.#options.runAs };
    checkTarget(target);
    const candidates =
      request.id === undefined ? await this.#records.list() : [await this.#records.get(request.id)];
    const backup = chooseBackup(candidates, target, this.#root) as StoredRecord;
    const directory = resolve(request.directory);
    if (request.verify ?? true) {
      await this.#compare(
        backup.id,
        join(this.#root, "base", backup.id),
        Number.parseInt(backup.serverVersion, 10),
        signal,
      );
      if (target.kind !== "backup-end") await this.#checkLog(backup);
    }
    const undo = await prepareDirectory(directory, runAs);
    try {
      await runTool("cp", ["-a", `${join(this.#root, "base", backup.id)}/.`, directory], {
        clock: this.#clock,
        signal,
        runAs,
      });
      for (const name of [RECORD, RECORD_DRAFT]) await rm(join(directory, name), { force: true });
      const command = backup.isArchived ? restoreCommand(this.logDirectory) : undefined;
      await writeRecovery(directory, target, command, runAs);
      return { directory, backup: publicRecord(backup), target };
    } catch (error) {
      await undo();
      throw error;
    }
  }

  async prune(policy: RetentionPolicy = {}): Promise<PruneReport> {
    const records = await this.#records.list();
    const kept = keptBackups(records, policy);
    const removed = records.filter(({ id }) => !kept.has(id));
    const base = join(this.#root, "base");
    for (const { id } of removed) {
      // Out of the list first: what is half removed must not be restored. Another process may have been quicker.
      await rename(join(base, id), join(base, `.${id}${GONE}`)).catch(passIfMissing);
    }
    // Also what an earlier call that was cut off has left.
    for (const name of await readdir(base).catch(passIfMissing)) {
      if (name.startsWith(".") && name.endsWith(GONE))
        await rm(join(base, name), { recursive: true, force: true });
    }
    // Not the oldest backup's: after a restore to a point in time the log goes on from further back.
    const needed = records
      .filter(({ id }) => kept.has(id))
      .map(({ timeline, startLsn, segmentBytes }) => segmentName(timeline, startLsn, segmentBytes));
    const removedSegmentCount = await pruneLog(this.logDirectory, needed);
    return { kept: [...kept].sort(), removed: removed.map(({ id }) => id), removedSegmentCount };
  }

  /** What of the log is kept since the backup, for a report. */
  async log(id: string): Promise<LogReport | undefined> {
    const { timeline, startLsn, segmentBytes } = await this.#records.get(id);
    return reportLog(this.logDirectory, segmentName(timeline, startLsn, segmentBytes), segmentBytes);
  }

  #isArchived({ archiveMode, archiveCommand: command }: ServerFacts): boolean {
    if (archiveMode === "off") return false;
    // Another command may well bring the log here; whether it does is seen when the log is waited for.
    if (command !== this.archiveCommand) {
      this.#logger.warn({}, "the server's archive_command is not the one of this repository");
    }
    return true;
  }

  /** A backup is whole only with the log up to its end, so that it must arrive before the backup counts. */
  async #waitForLog(
    database: Database,
    { segmentBytes }: ServerFacts,
    { timeline, stopLsn }: ManifestFacts,
    signal: AbortSignal | undefined,
  ): Promise<void> {
    const timeoutMs = this.#archiveTimeoutMs;
    const segment = segmentName(timeline, stopLsn, segmentBytes);
    const [row] = await database.query<{ recovering: boolean }>("SELECT pg_is_in_recovery() AS recovering");
    if (row?.recovering === false) await database.query("SELECT pg_switch_wal()");
    const until = this.#clock.monotonicNow() + timeoutMs;
    while (!(await exists(join(this.logDirectory, segment)))) {
      if (this.#clock.monotonicNow() >= until) {
        const [archiver] = await database.query<{ failed: string | null }>(
          "SELECT last_failed_wal AS failed FROM pg_stat_archiver",
        );
        throw new BackupArchiveError(
          `${segment} did not come to ${this.logDirectory} within ${timeoutMs} ms` +
            `${archiver?.failed ? `, and the server failed to archive ${archiver.failed}` : ""}; set archive_command = ${this.archiveCommand}`,
        );
      }
      await this.#clock.sleep(ARCHIVE_POLL_MS, { signal });
    }
  }

  async #compare(id: string, path: string, major: number, signal: AbortSignal | undefined): Promise<void> {
    try {
      // Our record is not in the manifest, and the log inside is checked as part of the archive's.
      const ours = [RECORD, RECORD_DRAFT].flatMap((name) => ["--ignore", name]);
      await this.#run(major, "pg_verifybackup", [...ours, path], { signal });
    } catch (error) {
      if (!(error instanceof BackupToolError) || error.cause !== undefined) throw error;
      const problems = error.message.split("\n").flatMap((line) => {
        const said = /pg_verifybackup: error: (.*)$/.exec(line)?.[1];
        return said === undefined ? [] : [said];
      });
      throw new BackupCorruptError(id, problems.length === 0 ? [error.message] : problems, { cause: error });
    }
  }

  async #checkLog(record: StoredRecord): Promise<LogReport | undefined> {
    if (!record.isArchived) return undefined;
    const { timeline, startLsn, segmentBytes, id } = record;
    const from = segmentName(timeline, startLsn, segmentBytes);
    const log = await reportLog(this.logDirectory, from, segmentBytes);
    if (log === undefined) throw new BackupCorruptError(id, [`the log from ${from} on is gone`]);
    if (log.missing.length > 0) {
      throw new BackupCorruptError(
        id,
        log.missing.map((name) => `log segment ${name} is missing or cut`),
      );
    }
    return log;
  }

  async #run(
    major: number,
    program: string,
    args: readonly string[],
    options: Abortable & { readonly env?: Readonly<Record<string, string | undefined>> },
  ): Promise<ToolResult> {
    const bin = this.#options.binDirectory ?? (await findBinDirectory(major));
    const { runAs } = this.#options;
    return runTool(join(bin, program), args, { ...options, clock: this.#clock, runAs });
  }
}

const publicRecord = ({ segmentBytes: _ours, ...record }: StoredRecord): BackupRecord => ({
  ...record,
  label: record.label,
  verifiedAt: record.verifiedAt,
});

/** Nothing in place of what is not there. */
const passIfMissing = (error: NodeJS.ErrnoException): readonly string[] => {
  if (error.code === "ENOENT") return [];
  throw error;
};

const exists = async (path: string): Promise<boolean> => {
  try {
    await stat(path);
    return true;
  } catch {
    return false;
  }
};
