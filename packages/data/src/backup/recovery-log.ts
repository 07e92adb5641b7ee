import { chown, mkdir, open, readFile } from "node:fs/promises";
import { dirname } from "node:path";
import { type Clock, type Logger, type Random, randomHex, toWireError } from "@holdfast/kernel";
import type { RestoredDirectory, RestoreRequest } from "./repository.ts";
import type { RestoreTarget } from "./restore-target.ts";
import type { RunAs } from "./tool.ts";

/** A restore or a drill that was begun, whatever became of it. */
export interface RecoveryRecord {
  readonly id: string;
  readonly kind: "restore" | "drill";
  readonly target: RestoreTarget;
  /** The backup that was asked for, later the one that was taken; undefined: the newest that fits, not yet chosen. */
  readonly backupId: string | undefined;
  readonly directory: string;
  /** ISO 8601, as all times here. */
  readonly startedAt: string;
  /** `in-progress` also of one whose process ended before it did. */
  readonly state: "in-progress" | "succeeded" | "failed";
  readonly finishedAt: string | undefined;
  /** Why it failed. */
  readonly problem: string | undefined;
  /** What a drill measured: work that would be lost, and time until writes, in milliseconds. */
  readonly dataLossMs: number | undefined;
  readonly downtimeMs: number | undefined;
}

type Beginning = Pick<RecoveryRecord, "kind" | "target" | "backupId" | "directory">;
type End = Partial<Pick<RecoveryRecord, "backupId" | "problem" | "dataLossMs" | "downtimeMs">>;

export interface RecoveryLogOptions {
  readonly file: string;
  readonly runAs: RunAs | undefined;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
}

/**
 * What was recovered from a repository, in the order in which it was begun: a file that is only ever appended to, a
 * line for each beginning and each end, so that it survives every process that writes it.
 */
export class RecoveryLog {
  readonly #options: RecoveryLogOptions;

  constructor(options: RecoveryLogOptions) {
    this.#options = options;
  }

  /** The oldest first; a copy. A line that was cut off by a crash is left out. */
  async list(): Promise<readonly RecoveryRecord[]> {
    const text = await readFile(this.#options.file, "utf8").catch((error: NodeJS.ErrnoException) => {
      if (error.code === "ENOENT") return "";
      throw error;
    });
    const records = new Map<string, RecoveryRecord>();
    for (const line of text.split("\n")) {
      const change = parseLine(line);
      if (change !== undefined)
        records.set(change.id, { ...records.get(change.id), ...change } as RecoveryRecord);
    }
    return [...records.values()];
  }

  /**
   * Runs `body` between the two lines of its record. A repository that cannot be written to is told to the logger and
   * keeps nobody from recovering.
   * @throws what `body` throws; the record says it too.
   */
  async record<T>(
    beginning: Beginning,
    body: () => Promise<T>,
    endOf: (result: T) => End & { readonly state?: "succeeded" | "failed" },
  ): Promise<T> {
    const { clock, random } = this.#options;
    const now = (): string => new Date(clock.wallNow()).toISOString();
    const startedAt = now();
    const id = `${startedAt.slice(0, 19).replaceAll(/[-:]/g, "").replace("T", "-")}-${randomHex(random, 4)}`;
    await this.#append({ id, ...beginning, startedAt, state: "in-progress" });
    try {
      const result = await body();
      await this.#append({ id, state: "succeeded", finishedAt: now(), ...endOf(result) });
      return result;
    } catch (error) {
      await this.#append({ id, state: "failed", finishedAt: now(), problem: toWireError(error).message });
      throw error;
    }
  }

  async #append(line: object): Promise<void> {
    const { file, runAs, logger } = this.#options;
    try {
      await mkdir(dirname(file), { recursive: true, mode: 0o700 });
      const handle = await open(file, "a", 0o600);
      try {
        if (runAs !== undefined) await chown(file, runAs.uid, runAs.gid);
        // The line feed comes first too: what a crash cut off stays a line of its own.
        await handle.appendFile(`\n${JSON.stringify(line)}\n`);
        await handle.sync();
      } finally {
        await handle.close();
      }
    } catch (err) {
      logger.warn({ err, file }, "the record of recoveries cannot be written");
    }
  }
}

/** Notes a restore in `log`, unless there is none or the caller keeps the record himself. */
export const recordRestore = (
  log: RecoveryLog | undefined,
  request: RestoreRequest,
  body: () => Promise<RestoredDirectory>,
): Promise<RestoredDirectory> => {
  if (log === undefined || request.purpose === "drill") return body();
  const { target = { kind: "latest" }, id: backupId, directory } = request;
  return log.record({ kind: "restore", target, backupId, directory }, body, ({ backup }) => ({
    backupId: backup.id,
  }));
};

const parseLine = (line: string): (Partial<RecoveryRecord> & { readonly id: string }) | undefined => {
  try {
    const parsed = JSON.parse(line) as Partial<RecoveryRecord> & { readonly id: string };
    if (typeof parsed.id !== "string") return undefined;
    const { target } = parsed;
    if (target?.kind !== "time") return parsed;
    return { ...parsed, target: { ...target, time: new Date(target.time) } };
  } catch {
    return undefined;
  }
};
