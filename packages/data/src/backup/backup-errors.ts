import { HoldfastError, type HoldfastErrorInit } from "@holdfast/kernel";

/** A program that makes, checks or restores backups failed; what it began was removed. Retryable once its reason is gone. */
export class BackupToolError extends HoldfastError {
  override readonly name = "BackupToolError";
  readonly code = "BACKUP_TOOL_FAILED";

  constructor(tool: string, reason: string, output: string, init: HoldfastErrorInit = {}) {
    super(`${tool} ${reason}${output === "" ? "" : `: ${output}`}`, {
      retryable: true,
      ...init,
      details: { ...init.details, tool },
    });
  }
}

/** The server does not keep its log where the backup needs it, so the backup was not listed. Retryable once it does. */
export class BackupArchiveError extends HoldfastError {
  override readonly name = "BackupArchiveError";
  readonly code = "BACKUP_LOG_NOT_ARCHIVED";

  constructor(problem: string, init: HoldfastErrorInit = {}) {
    super(`the server's log does not arrive in the archive: ${problem}`, { retryable: true, ...init });
  }
}

/** There is no such backup. Not retryable. */
export class BackupNotFoundError extends HoldfastError {
  override readonly name = "BackupNotFoundError";
  readonly code = "BACKUP_NOT_FOUND";

  constructor(id: string, where: string, init: HoldfastErrorInit = {}) {
    super(`there is no backup ${id} in ${where}`, { ...init, details: { ...init.details, id, where } });
  }
}

/** A backup, or the log that belongs to it, is not what was written; it must not be restored. Not retryable. */
export class BackupCorruptError extends HoldfastError {
  override readonly name = "BackupCorruptError";
  readonly code = "BACKUP_CORRUPT";
  readonly problems: readonly string[];

  constructor(id: string, problems: readonly string[], init: HoldfastErrorInit = {}) {
    super(
      `backup ${id} is damaged: ${problems.slice(0, 5).join("; ")}: restore another one, and make a new one`,
      {
        ...init,
        details: { ...init.details, id, problems },
      },
    );
    this.problems = problems;
  }
}

/** The wanted state cannot be restored, or not to that place; nothing was changed. Not retryable. */
export class RestoreTargetError extends HoldfastError {
  override readonly name = "RestoreTargetError";
  readonly code = "BACKUP_RESTORE_TARGET";

  constructor(reason: string, init: HoldfastErrorInit = {}) {
    super(`cannot restore: ${reason}`, init);
  }
}

/** A restored server did not become a primary: the target was not reached, or the log is damaged. Not retryable as such. */
export class RestoreFailedError extends HoldfastError {
  override readonly name = "RestoreFailedError";
  readonly code = "BACKUP_RESTORE_FAILED";

  constructor(directory: string, reason: string, output: string, init: HoldfastErrorInit = {}) {
    super(`PostgreSQL does not recover in ${directory}: ${reason}${output === "" ? "" : `: ${output}`}`, {
      ...init,
      details: { ...init.details, directory },
    });
  }
}
