import { resolve } from "node:path";
import {
  type Abortable,
  type Clock,
  type Logger,
  type Random,
  silentLogger,
  systemClock,
  systemRandom,
} from "@holdfast/kernel";
import { BackupCorruptError, BackupNotFoundError } from "./backup-errors.ts";
import { RecoveryLog, type RecoveryRecord, recordRestore } from "./recovery-log.ts";
import type {
  BackupRecord,
  BackupRepository,
  BackupRequest,
  PruneReport,
  RestoredDirectory,
  RestoreRequest,
  RetentionPolicy,
  VerifyReport,
} from "./repository.ts";
import { prepareDirectory } from "./restore-directory.ts";
import { checkTarget, chooseBackup, type RestoreTarget, timeText } from "./restore-target.ts";
import { readPolicy } from "./retention.ts";
import { type RunAs, runTool } from "./tool.ts";

export interface PgBackRestOptions {
  /** The stanza, set up already (`pgbackrest stanza-create`), with the server archiving into it. */
  readonly stanza: string;
  /** Default: pgBackRest's own place, /etc/pgbackrest.conf. */
  readonly configFile?: string | undefined;
  /** "full" (default), or what changed since the last full one or since the last one. */
  readonly type?: "full" | "diff" | "incr" | undefined;
  readonly runAs?: RunAs | undefined;
  /** Where restores and drills are noted. Default: nowhere. */
  readonly recoveryFile?: string | undefined;
  readonly clock?: Clock | undefined;
  readonly random?: Random | undefined;
  readonly logger?: Logger | undefined;
}

interface InfoBackup {
  readonly label: string;
  readonly annotation?: { readonly label?: string };
  readonly timestamp: { readonly start: number; readonly stop: number };
  readonly lsn?: { readonly start?: string; readonly stop?: string };
  readonly archive?: { readonly start?: string | null };
  readonly info?: { readonly size?: number };
  readonly database?: { readonly id?: number };
  readonly error?: boolean;
}

interface InfoStanza {
  readonly backup: readonly InfoBackup[];
  readonly db: readonly {
    readonly id: number;
    readonly "system-id": number | string;
    readonly version: string;
  }[];
}

/** Backups by pgBackRest: incremental, compressed, encrypted and to object stores, as its own configuration says. */
export class PgBackRestRepository implements BackupRepository {
  readonly kind = "pgbackrest";
  readonly #options: PgBackRestOptions;
  readonly #clock: Clock;
  /** When a backup was verified by this process; pgBackRest does not note it. */
  readonly #verifiedAt = new Map<string, string>();
  readonly recoveryLog: RecoveryLog | undefined;

  constructor(options: PgBackRestOptions) {
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    const { recoveryFile: file, runAs, random = systemRandom, logger = silentLogger } = options;
    this.recoveryLog =
      file === undefined
        ? undefined
        : new RecoveryLog({ file: resolve(file), runAs, clock: this.#clock, random, logger });
  }

  async backup(request: BackupRequest = {}): Promise<BackupRecord> {
    const before = new Set((await this.list()).map(({ id }) => id));
    // pgBackRest itself waits for the log that completes the backup (archive-check).
    const { label } = request;
    const noted = label === undefined ? [] : [`--annotation=label=${label}`];
    const type = `--type=${this.#options.type ?? "full"}`;
    await this.#run("backup", [type, "--start-fast", ...noted], request);
    const made = (await this.list()).filter(({ id }) => !before.has(id)).at(-1);
    if (made === undefined) throw new BackupNotFoundError("just made", this.#where);
    if (request.verify ?? true) await this.verify(made.id, request);
    return (await this.list()).find(({ id }) => id === made.id) ?? made;
  }

  async list(options: Abortable = {}): Promise<readonly BackupRecord[]> {
    const { stdout } = await this.#run("info", ["--output=json"], options);
    // A system identifier has more digits than a number of JavaScript keeps.
    const text = stdout.replace(/("system-id":)(\d+)/g, '$1"$2"');
    const [stanza] = JSON.parse(text) as readonly InfoStanza[];
    return (stanza?.backup ?? [])
      .filter(({ error }) => error !== true)
      .map((backup) => this.#recordOf(backup, stanza?.db ?? []));
  }

  async verify(id: string, options: Abortable = {}): Promise<VerifyReport> {
    await this.#find(id);
    const { stdout } = await this.#run("verify", ["--output=text", "--verbose"], options);
    // pgBackRest verifies the whole stanza at once and tells of each backup.
    const problems = stdout
      .split("\n")
      .map((line) => line.trim())
      .filter((line) =>
        /(missing|checksum invalid|size invalid|other): [1-9]|status: error|not.*valid/i.test(line),
      );
    if (problems.length > 0) throw new BackupCorruptError(id, problems);
    const verifiedAt = new Date(this.#clock.wallNow()).toISOString();
    this.#verifiedAt.set(id, verifiedAt);
    return { id, verifiedAt, log: undefined };
  }

  restore(request: RestoreRequest): Promise<RestoredDirectory> {
    return recordRestore(this.recoveryLog, request, () => this.#restore(request));
  }

  async recoveries(): Promise<readonly RecoveryRecord[]> {
    return (await this.recoveryLog?.list()) ?? [];
  }

  async #restore(request: RestoreRequest): Promise<RestoredDirectory> {
    const { target = { kind: "latest" }, signal } = request;
    checkTarget(target);
    const candidates =
      request.id === undefined ? await this.list({ signal }) : [await this.#find(request.id)];
    const backup = chooseBackup(candidates, target, this.#where);
    if (request.verify ?? true) await this.verify(backup.id, { signal });
    const directory = resolve(request.directory);
    const undo = await prepareDirectory(directory, this.#options.runAs);
    try {
      await this.#run(
        "restore",
        [`--pg1-path=${directory}`, `--set=${backup.id}`, "--archive-mode=off", ...targetArguments(target)],
        { signal },
      );
      return { directory, backup, target };
    } catch (error) {
      await undo();
      throw error;
    }
  }

  /** pgBackRest counts full backups, so the policy's numbers together say how many are kept. */
  async prune(policy: RetentionPolicy = {}, options: Abortable = {}): Promise<PruneReport> {
    const { daily, weekly, monthly } = readPolicy(policy);
    const count = daily + weekly + monthly;
    const before = await this.list(options);
    await this.#run("expire", [`--repo1-retention-full=${Math.max(1, count)}`], options);
    const kept = (await this.list(options)).map(({ id }) => id);
    return {
      kept,
      removed: before.map(({ id }) => id).filter((id) => !kept.includes(id)),
      removedSegmentCount: 0,
    };
  }

  get #where(): string {
    return `stanza ${this.#options.stanza}`;
  }

  async #find(id: string): Promise<BackupRecord> {
    const found = (await this.list()).find((record) => record.id === id);
    if (found === undefined) throw new BackupNotFoundError(id, this.#where);
    return found;
  }

  #recordOf(backup: InfoBackup, databases: InfoStanza["db"]): BackupRecord {
    const database = databases.find(({ id }) => id === (backup.database?.id ?? 1)) ?? databases.at(-1);
    const at = (seconds: number): string => new Date(seconds * 1_000).toISOString();
    return {
      id: backup.label,
      label: backup.annotation?.label,
      startedAt: at(backup.timestamp.start),
      finishedAt: at(backup.timestamp.stop),
      systemIdentifier: String(database?.["system-id"] ?? ""),
      serverVersion: database?.version ?? "",
      timeline: Number.parseInt(backup.archive?.start?.slice(0, 8) ?? "1", 16),
      startLsn: backup.lsn?.start ?? "0/0",
      stopLsn: backup.lsn?.stop ?? "0/0",
      sizeBytes: backup.info?.size ?? 0,
      verifiedAt: this.#verifiedAt.get(backup.label),
      isArchived: true,
    };
  }

  #run(command: string, args: readonly string[], options: Abortable): ReturnType<typeof runTool> {
    const { stanza, configFile, runAs } = this.#options;
    return runTool(
      "pgbackrest",
      [
        `--stanza=${stanza}`,
        ...(configFile === undefined ? [] : [`--config=${configFile}`]),
        "--log-level-console=off",
        "--log-level-stderr=error",
        ...args,
        command,
      ],
      { signal: options.signal, clock: this.#clock, runAs },
    );
  }
}

const targetArguments = (target: RestoreTarget): readonly string[] => {
  const exclusive = "inclusive" in target && target.inclusive === false ? ["--target-exclusive"] : [];
  const promote = "--target-action=promote";
  switch (target.kind) {
    case "latest":
      return [];
    case "backup-end":
      return ["--type=immediate", promote];
    case "time":
      return ["--type=time", `--target=${timeText(target.time)}`, promote, ...exclusive];
    case "lsn":
      return ["--type=lsn", `--target=${target.lsn}`, promote, ...exclusive];
    case "transaction":
      return ["--type=xid", `--target=${target.id}`, promote, ...exclusive];
    case "name":
      return ["--type=name", `--target=${target.name}`, promote];
  }
};
