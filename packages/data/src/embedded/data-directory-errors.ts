import { HoldfastError, type HoldfastErrorInit } from "@holdfast/kernel";

/** Another process uses the data directory. Retryable after it has ended; nothing was changed. */
export class DataDirectoryLockedError extends HoldfastError {
  override readonly name = "DataDirectoryLockedError";
  readonly code = "DATA_DIRECTORY_LOCKED";
  readonly pid: number;

  constructor(
    directory: string,
    holder: { pid: number; host: string; sameHost: boolean },
    init: HoldfastErrorInit = {},
  ) {
    const who = holder.sameHost ? `process ${holder.pid}` : `process ${holder.pid} on host ${holder.host}`;
    const next = holder.sameHost
      ? `stop it (kill ${holder.pid}) or use another --data-dir`
      : `stop it there or use another --data-dir; if that host is gone for good, delete ${directory}/lock`;
    super(`data directory ${directory} is in use by ${who}: ${next}`, {
      retryable: true,
      ...init,
      details: { ...init.details, directory, pid: holder.pid, host: holder.host },
    });
    this.pid = holder.pid;
  }
}

/** A newer version wrote the data directory. Not retryable; nothing was changed. */
export class DataDirectoryTooNewError extends HoldfastError {
  override readonly name = "DataDirectoryTooNewError";
  readonly code = "DATA_DIRECTORY_TOO_NEW";

  constructor(directory: string, found: string, known: string, init: HoldfastErrorInit = {}) {
    super(
      `data directory ${directory} was written by a newer version (${found}; this program knows up to ${known}): use a newer version of Holdfast or another --data-dir`,
      { ...init, details: { ...init.details, directory, found, known } },
    );
  }
}

/** The directory is not a data directory of Holdfast, or a damaged one. Not retryable; nothing was changed. */
export class DataDirectoryInvalidError extends HoldfastError {
  override readonly name = "DataDirectoryInvalidError";
  readonly code = "DATA_DIRECTORY_INVALID";

  constructor(directory: string, reason: string, init: HoldfastErrorInit = {}) {
    super(`data directory ${directory} cannot be used: ${reason}`, {
      ...init,
      details: { ...init.details, directory, reason },
    });
  }
}
