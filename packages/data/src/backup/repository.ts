import type { Abortable } from "@holdfast/kernel";
import type { RecoveryLog, RecoveryRecord } from "./recovery-log.ts";
import type { RestoreTarget } from "./restore-target.ts";

/** What is known of a backup. */
export interface BackupRecord {
  /** Sorts by the time it was made. */
  readonly id: string;
  readonly label: string | undefined;
  /** ISO 8601, as all times here. */
  readonly startedAt: string;
  readonly finishedAt: string;
  /** The cluster that was backed up; decimal. */
  readonly systemIdentifier: string;
  readonly serverVersion: string;
  readonly timeline: number;
  readonly startLsn: string;
  /** Reached by every restore of this backup. */
  readonly stopLsn: string;
  readonly sizeBytes: number;
  /** When every byte was last compared with its manifest. */
  readonly verifiedAt: string | undefined;
  /** Whether the log since then is kept, so that any later time can be restored. */
  readonly isArchived: boolean;
}

export interface VerifyReport {
  readonly id: string;
  readonly verifiedAt: string;
  readonly log: LogReport | undefined;
}

/** What of the server's log is kept. */
export interface LogReport {
  readonly segmentCount: number;
  readonly first: string;
  readonly last: string;
  /** Names that should be between them and are not. */
  readonly missing: readonly string[];
}

export interface RestoreRequest extends Abortable {
  /** Missing or empty; made with mode 0700. */
  readonly directory: string;
  /** Default: the newest that the target allows. */
  readonly id?: string | undefined;
  /** Default: everything that is kept. */
  readonly target?: RestoreTarget | undefined;
  /** Compare the backup with its manifest first. Default true. */
  readonly verify?: boolean | undefined;
  /** A drill keeps a record of its own. Default "restore". */
  readonly purpose?: "restore" | "drill" | undefined;
}

export interface RestoredDirectory {
  readonly directory: string;
  readonly backup: BackupRecord;
  readonly target: RestoreTarget;
}

export interface BackupRequest extends Abortable {
  /** Shown in the list. */
  readonly label?: string | undefined;
  /** Compare the backup with its manifest at once. Default true. */
  readonly verify?: boolean | undefined;
}

export interface PruneReport {
  readonly kept: readonly string[];
  readonly removed: readonly string[];
  readonly removedSegmentCount: number;
}

/** Where backups are kept and what makes them. Two implementations: PostgreSQL's own programs, and pgBackRest. */
export interface BackupRepository {
  readonly kind: "postgres" | "pgbackrest";
  /** Where restores and drills are noted; undefined where no place was named. */
  readonly recoveryLog: RecoveryLog | undefined;
  /**
   * Makes a physical backup of the whole server, and checks that the log that completes it is kept.
   * @throws BackupToolError, BackupArchiveError: nothing is listed.
   */
  backup(request?: BackupRequest): Promise<BackupRecord>;
  /** The oldest first. */
  list(options?: Abortable): Promise<readonly BackupRecord[]>;
  /**
   * Reads every byte and compares it with the manifest, and looks for gaps in the log.
   * @throws BackupCorruptError naming the files. BackupNotFoundError.
   */
  verify(id: string, options?: Abortable): Promise<VerifyReport>;
  /**
   * Prepares a directory from which PostgreSQL starts, recovers to the target and becomes a primary on a new timeline.
   * @throws RestoreTargetError, BackupCorruptError, BackupNotFoundError: the directory is as it was.
   */
  restore(request: RestoreRequest): Promise<RestoredDirectory>;
  /** What was restored from here or drilled, in the order in which it was begun, and what became of it; a copy. */
  recoveries(): Promise<readonly RecoveryRecord[]>;
  /**
   * Removes what the policy no longer keeps, and the log that only those needed.
   * @throws InvalidInputError naming the number of the policy that cannot be; nothing was removed.
   */
  prune(policy: RetentionPolicy, options?: Abortable): Promise<PruneReport>;
}

/** How many backups are kept: the newest of each of the last days, weeks and months (UTC) that have one. */
export interface RetentionPolicy {
  /** 0 to 10_000, as the others. Default 7. */
  readonly dailyCount?: number | undefined;
  /** Weeks begin on Monday. Default 4. */
  readonly weeklyCount?: number | undefined;
  /** Default 6. */
  readonly monthlyCount?: number | undefined;
}
