import { createHash, createHmac } from "node:crypto";
import { readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import {
  type Abortable,
  type Clock,
  type Random,
  systemClock,
  systemRandom,
  toWireError,
} from "@holdfast/kernel";
import type { Database } from "../sql/database.ts";
import { integerOption } from "../sql/integer-option.ts";
import { type DatabaseFingerprint, fingerprintDatabase, fingerprintDifferences } from "./fingerprint.ts";
import { writeJsonFile } from "./json-file.ts";
import type { BackupRecord, BackupRepository } from "./repository.ts";
import { lsnValue, type RestoreTarget } from "./restore-target.ts";
import { RestoredServer, type RestoredServerOptions } from "./restored-server.ts";
import { findBinDirectory, type RunAs, runTool } from "./tool.ts";

/** Something that must hold in the restored database. Throws, or gives the sentence that says what does not. */
export interface DrillCheck {
  readonly name: string;
  readonly run: (restored: Database) => Promise<string | undefined>;
}

export interface DrillOptions extends Abortable {
  readonly repository: BackupRepository;
  /** Where the copy lives for the drill; must be missing or empty, and is removed afterwards unless `keep`. */
  readonly directory: string;
  readonly target?: RestoreTarget | undefined;
  /** What the database must be like; see `fingerprintDatabase`. */
  readonly expected?: DatabaseFingerprint | undefined;
  /** For example that a vector search still finds what it should. */
  readonly checks?: readonly DrillCheck[] | undefined;
  /**
   * The server that is backed up, if it lives: the drill notes its time and position at the start, which is when
   * the disaster is taken to happen. Without it, the target's time, or the wall clock, takes its place.
   */
  readonly source?: Database | undefined;
  /** Milliseconds of work that may be lost, 0 to 2^31. Default 300_000. */
  readonly dataLossMaxMs?: number | undefined;
  /** Milliseconds until the copy takes writes, 1 to 2^31. Default 900_000. */
  readonly downtimeMaxMs?: number | undefined;
  /** Where the evidence goes; written also when the drill fails. */
  readonly evidenceFile?: string | undefined;
  /** Signs the evidence (HMAC-SHA-256). */
  readonly signingKey?: string | undefined;
  readonly keep?: boolean | undefined;
  readonly binDirectory?: string | undefined;
  readonly runAs?: RunAs | undefined;
  readonly login?: Pick<RestoredServerOptions, "user" | "database" | "password"> | undefined;
  /**
   * Called once the copy takes writes, before the checks. A real restore changes the cluster's timeline, and with
   * it the epoch of every cache entry: this is the place to tell whoever keeps an epoch of its own.
   */
  readonly onRestored?: ((epoch: DatabaseEpoch) => Promise<void> | void) | undefined;
  readonly clock?: Clock | undefined;
  readonly random?: Random | undefined;
}

/** What entries of a cache belong to: another system or timeline is another history. */
export interface DatabaseEpoch {
  /** Decimal. */
  readonly systemIdentifier: string;
  readonly timeline: number;
}

export interface DrillReport {
  readonly verdict: "passed" | "failed";
  readonly problems: readonly string[];
  readonly startedAt: string;
  readonly finishedAt: string;
  readonly backup: BackupRecord | undefined;
  readonly target: RestoreTarget;
  readonly restored:
    | { readonly epoch: DatabaseEpoch; readonly lsn: string; readonly lastCommitAt: string | undefined }
    | undefined;
  /** Time between the last commit that was recovered and the disaster (RPO): more than was lost where nobody wrote. */
  readonly dataLossMs: number | undefined;
  readonly dataLossMaxMs: number;
  /** From the decision to restore until the copy took writes (RTO). */
  readonly downtimeMs: number | undefined;
  readonly downtimeMaxMs: number;
  readonly checks: readonly {
    readonly name: string;
    readonly problem: string | undefined;
    readonly durationMs: number;
  }[];
}

/** What the evidence file holds. `sha256` is of the report as JSON; `signature` the HMAC of the same bytes. */
export interface DrillEvidence {
  readonly report: DrillReport;
  readonly sha256: string;
  readonly signature?: string;
}

/**
 * Restores a backup for real into a directory of its own, starts PostgreSQL on it, looks whether everything is
 * there, and measures what a disaster now would cost. Fails, without throwing, over either limit and for every
 * check that does not hold. A backup that was never restored is a hope.
 *
 * @throws InvalidInputError naming the limit that cannot be; nothing was noted.
 * @throws signal.reason when aborted; the copy is removed.
 */
export const runDrill = async (options: DrillOptions): Promise<DrillReport> => {
  readLimits(options);
  const { repository, target = { kind: "latest" }, directory } = options;
  const log = repository.recoveryLog;
  if (log === undefined) return drillOnce(options);
  return log.record(
    { kind: "drill", target, backupId: undefined, directory },
    () => drillOnce(options),
    ({ verdict, problems, backup, dataLossMs, downtimeMs }) => ({
      state: verdict === "passed" ? "succeeded" : "failed",
      problem: problems[0],
      backupId: backup?.id,
      dataLossMs,
      downtimeMs,
    }),
  );
};

const drillOnce = async (options: DrillOptions): Promise<DrillReport> => {
  const { clock = systemClock, random = systemRandom, signal, target = { kind: "latest" }, source } = options;
  const drill = new Drill({ ...options, clock, random, target });
  const startedAt = new Date(clock.wallNow()).toISOString();
  try {
    await drill.noteDisaster(source);
    await drill.run();
  } catch (error) {
    signal?.throwIfAborted();
    drill.problems.push(toWireError(error).message);
  } finally {
    // What was there before is not ours: a restore that was refused has changed nothing.
    if (drill.hasCopy && options.keep !== true) {
      await rm(options.directory, { recursive: true, force: true });
    }
  }
  const report = drill.report(startedAt);
  if (options.evidenceFile !== undefined)
    await writeEvidence(options.evidenceFile, report, options.signingKey);
  return report;
};

interface DrillLimits {
  readonly dataLossMaxMs: number;
  readonly downtimeMaxMs: number;
}

const readLimits = ({ dataLossMaxMs = 300_000, downtimeMaxMs = 900_000 }: DrillOptions): DrillLimits => ({
  dataLossMaxMs: integerOption("dataLossMaxMs", dataLossMaxMs, 0, 2 ** 31),
  downtimeMaxMs: integerOption("downtimeMaxMs", downtimeMaxMs, 1, 2 ** 31),
});

type FullOptions = DrillOptions & {
  readonly clock: Clock;
  readonly random: Random;
  readonly target: RestoreTarget;
};

class Drill {
  readonly problems: string[] = [];
  /** Whether the directory holds what was restored. */
  hasCopy = false;
  readonly #options: FullOptions;
  readonly #limits: DrillLimits;
  readonly #checks: { name: string; problem: string | undefined; durationMs: number }[] = [];
  readonly #startedAt: number;
  #disaster: { readonly at: number; readonly lsn: string | undefined } | undefined;
  #backup: BackupRecord | undefined;
  #restored: DrillReport["restored"];
  #dataLossMs: number | undefined;
  #downtimeMs: number | undefined;

  constructor(options: FullOptions) {
    this.#options = options;
    this.#startedAt = options.clock.monotonicNow();
    this.#limits = readLimits(options);
  }

  async noteDisaster(source: Database | undefined): Promise<void> {
    const { target, clock } = this.#options;
    if (target.kind === "time") {
      this.#disaster = { at: target.time.getTime(), lsn: undefined };
    } else if (source === undefined) {
      this.#disaster = { at: clock.wallNow(), lsn: undefined };
    } else {
      const [row] = await source.query<{ at: Date; lsn: string }>(
        "SELECT clock_timestamp() AS at, pg_current_wal_insert_lsn()::text AS lsn",
      );
      this.#disaster = { at: row?.at.getTime() ?? clock.wallNow(), lsn: row?.lsn };
    }
  }

  async run(): Promise<void> {
    const { repository, directory, target, signal, clock, random, runAs, binDirectory, login } =
      this.#options;
    const { backup } = await repository.restore({ directory, target, purpose: "drill", signal });
    this.hasCopy = true;
    this.#backup = backup;
    const server = await RestoredServer.start({
      ...login,
      directory,
      runAs,
      binDirectory,
      clock,
      random,
      signal,
      timeoutMs: Math.max(1_000, this.#limits.downtimeMaxMs - (clock.monotonicNow() - this.#startedAt)),
    });
    try {
      this.#downtimeMs = Math.round(clock.monotonicNow() - this.#startedAt);
      await this.#measure(server.database);
      await this.#runChecks(server.database);
    } finally {
      await server.stop();
    }
    await this.#compareBlocks(Number.parseInt(backup.serverVersion, 10));
  }

  report(startedAt: string): DrillReport {
    const { dataLossMaxMs, downtimeMaxMs } = this.#limits;
    if (this.#dataLossMs !== undefined && this.#dataLossMs > dataLossMaxMs) {
      this.problems.push(`${this.#dataLossMs} ms of work would be lost; ${dataLossMaxMs} ms are allowed`);
    }
    if (this.#downtimeMs !== undefined && this.#downtimeMs > downtimeMaxMs) {
      this.problems.push(`it took ${this.#downtimeMs} ms until writes; ${downtimeMaxMs} ms are allowed`);
    }
    for (const { name, problem } of this.#checks) {
      if (problem !== undefined) this.problems.push(`${name}: ${problem}`);
    }
    return {
      verdict: this.problems.length === 0 ? "passed" : "failed",
      problems: this.problems,
      startedAt,
      finishedAt: new Date(this.#options.clock.wallNow()).toISOString(),
      backup: this.#backup,
      target: this.#options.target,
      restored: this.#restored,
      dataLossMs: this.#dataLossMs,
      dataLossMaxMs,
      downtimeMs: this.#downtimeMs,
      downtimeMaxMs,
      checks: this.#checks,
    };
  }

  async #measure(restored: Database): Promise<void> {
    const [row] = await restored.query<{
      system: string;
      timeline: number;
      lsn: string;
      committed: Date | null;
    }>(
      `SELECT (SELECT system_identifier::text FROM pg_control_system()) AS system,
              ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::int AS timeline,
              pg_current_wal_lsn()::text AS lsn, pg_last_xact_replay_timestamp() AS committed`,
    );
    if (row === undefined) return;
    const epoch = { systemIdentifier: row.system, timeline: row.timeline };
    this.#restored = { epoch, lsn: row.lsn, lastCommitAt: row.committed?.toISOString() };
    // Without a commit to replay everything up to the end of the backup is there.
    const recoveredTo = row.committed?.getTime() ?? Date.parse(this.#backup?.finishedAt ?? "");
    const { at, lsn } = this.#disaster ?? { at: recoveredTo, lsn: undefined };
    // Where the old history ended; from there on the copy has written things of its own.
    const end = await recoveredUntil(this.#options.directory, row.timeline);
    const hasAll = lsn !== undefined && end !== undefined && lsnValue(end) >= lsnValue(lsn);
    this.#dataLossMs = hasAll ? 0 : Math.max(0, Math.round(at - recoveredTo));
    await this.#options.onRestored?.(epoch);
  }

  async #runChecks(restored: Database): Promise<void> {
    const { expected, checks = [] } = this.#options;
    const all: readonly DrillCheck[] = [
      { name: "takes writes", run: takesWrites },
      ...(expected === undefined
        ? []
        : [{ name: "same rows, indexes and constraints", run: sameAs(expected) }]),
      ...checks,
    ];
    for (const { name, run } of all) await this.#check(name, () => run(restored));
  }

  /** Compares every block of the stopped copy with its checksum, where the cluster has them. */
  async #compareBlocks(major: number): Promise<void> {
    const { directory, clock, signal, runAs } = this.#options;
    const bin = this.#options.binDirectory ?? (await findBinDirectory(major));
    await this.#check("block checksums", async () => {
      try {
        await runTool(join(bin, "pg_checksums"), ["--check", "-D", directory], { clock, signal, runAs });
        return undefined;
      } catch (error) {
        const { message } = error as Error;
        if (/not enabled/.test(message)) return undefined;
        return message;
      }
    });
  }

  async #check(name: string, run: () => Promise<string | undefined>): Promise<void> {
    const { clock, signal } = this.#options;
    const startedAt = clock.monotonicNow();
    let problem: string | undefined;
    try {
      problem = await run();
    } catch (error) {
      signal?.throwIfAborted();
      problem = toWireError(error).message;
    }
    this.#checks.push({ name, problem, durationMs: Math.round(clock.monotonicNow() - startedAt) });
  }
}

/** The position at which the new timeline left the old one, from the history that PostgreSQL wrote. */
const recoveredUntil = async (directory: string, timeline: number): Promise<string | undefined> => {
  const name = `${timeline.toString(16).toUpperCase().padStart(8, "0")}.history`;
  const text = await readFile(join(directory, "pg_wal", name), "utf8").catch(() => "");
  return text.trim().split("\n").at(-1)?.split("\t")[1];
};

const takesWrites = async (restored: Database): Promise<undefined> => {
  await restored.query("CREATE TEMP TABLE holdfast_drill AS SELECT 1 AS one; DROP TABLE holdfast_drill");
};

const sameAs =
  (expected: DatabaseFingerprint) =>
  async (restored: Database): Promise<string | undefined> => {
    const found = await fingerprintDatabase(restored, { tables: Object.keys(expected.tables) });
    const differences = fingerprintDifferences(expected, found);
    return differences.length === 0 ? undefined : differences.slice(0, 20).join("; ");
  };

const writeEvidence = async (path: string, report: DrillReport, key: string | undefined): Promise<void> => {
  const bytes = JSON.stringify(report);
  const evidence: DrillEvidence = {
    report,
    sha256: createHash("sha256").update(bytes).digest("hex"),
    ...(key === undefined ? {} : { signature: createHmac("sha256", key).update(bytes).digest("hex") }),
  };
  await writeJsonFile(path, evidence);
};

/** Whether the evidence is what was written, and, with the key, by whom. */
export const isEvidenceGenuine = (evidence: DrillEvidence, key?: string): boolean => {
  const bytes = JSON.stringify(evidence.report);
  if (createHash("sha256").update(bytes).digest("hex") !== evidence.sha256) return false;
  return key === undefined || createHmac("sha256", key).update(bytes).digest("hex") === evidence.signature;
};
