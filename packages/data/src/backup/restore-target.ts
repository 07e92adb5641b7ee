import { InvalidInputError } from "@holdfast/kernel";
import { RestoreTargetError } from "./backup-errors.ts";
import type { BackupRecord } from "./repository.ts";

/** Until where the log is replayed. */
export type RestoreTarget =
  /** Everything that is kept. */
  | { readonly kind: "latest" }
  /** The end of the backup itself. */
  | { readonly kind: "backup-end" }
  /** Transactions committed until then; `inclusive` (default true) decides about one committed at that very instant. */
  | { readonly kind: "time"; readonly time: Date; readonly inclusive?: boolean | undefined }
  | { readonly kind: "lsn"; readonly lsn: string; readonly inclusive?: boolean | undefined }
  | { readonly kind: "transaction"; readonly id: string; readonly inclusive?: boolean | undefined }
  /** A restore point made with `pg_create_restore_point`. */
  | { readonly kind: "name"; readonly name: string };

const LSN = /^[0-9A-F]{1,8}\/[0-9A-F]{1,8}$/i;

/** @throws InvalidInputError naming the field of a target that cannot be. */
export const checkTarget = (target: RestoreTarget): void => {
  if (target.kind === "time" && Number.isNaN(target.time.getTime())) {
    throw new InvalidInputError("target.time", "Invalid Date", "a valid time");
  }
  if (target.kind === "lsn" && !LSN.test(target.lsn)) {
    throw new InvalidInputError("target.lsn", target.lsn, "a log position such as 0/3000060");
  }
  if (target.kind === "transaction" && !/^\d{1,20}$/.test(target.id)) {
    throw new InvalidInputError("target.id", target.id, "the number of a transaction");
  }
  if (target.kind === "name" && !/^[^\p{Cc}]{1,63}$/u.test(target.name)) {
    throw new InvalidInputError(
      "target.name",
      target.name,
      "the name of a restore point, at most 63 characters",
    );
  }
};

/** A log position as one number. */
export const lsnValue = (lsn: string): bigint => {
  const [high = "0", low = "0"] = lsn.split("/");
  return (BigInt(`0x${high}`) << 32n) | BigInt(`0x${low}`);
};

/**
 * The newest backup that the target can be reached from.
 * @throws RestoreTargetError when the target lies before the end of the oldest, or needs a log that is not kept.
 */
export const chooseBackup = (
  backups: readonly BackupRecord[],
  target: RestoreTarget,
  where: string,
): BackupRecord => {
  const fits = (record: BackupRecord): boolean => {
    if (target.kind === "time") return Date.parse(record.finishedAt) <= target.time.getTime();
    if (target.kind === "lsn") return lsnValue(record.stopLsn) <= lsnValue(target.lsn);
    return true;
  };
  const chosen = backups.filter(fits).at(-1);
  if (chosen === undefined) {
    const oldest = backups[0];
    throw new RestoreTargetError(
      oldest === undefined
        ? `there is no backup in ${where}`
        : `the target lies before the end of the oldest backup (${oldest.id}, ${oldest.finishedAt}, ${oldest.stopLsn})`,
    );
  }
  if (!chosen.isArchived && target.kind !== "backup-end" && target.kind !== "latest") {
    throw new RestoreTargetError(
      `backup ${chosen.id} was made without a log archive: only its own end can be restored`,
    );
  }
  return chosen;
};

const quote = (value: string): string => `'${value.replaceAll("'", "''")}'`;

/** As PostgreSQL and pgBackRest both read it. */
export const timeText = (time: Date): string => time.toISOString().replace("T", " ").replace("Z", "+00");

/** The lines of configuration that recover to the target and then promote. */
export const recoverySettings = (
  target: RestoreTarget,
  restoreCommand: string | undefined,
): readonly string[] => {
  const lines = [
    `restore_command = ${quote(restoreCommand ?? "false")}`,
    // Settings of an earlier restore in the same file must not hold.
    ...["time", "lsn", "xid", "name"].map((kind) => `recovery_target_${kind} = ''`),
    "recovery_target = ''",
    "recovery_target_timeline = 'latest'",
    "recovery_target_action = 'promote'",
  ];
  const inclusive = "inclusive" in target ? (target.inclusive ?? true) : true;
  lines.push(`recovery_target_inclusive = ${inclusive ? "on" : "off"}`);
  switch (target.kind) {
    case "latest":
      break;
    case "backup-end":
      lines.push("recovery_target = 'immediate'");
      break;
    case "time":
      lines.push(`recovery_target_time = ${quote(timeText(target.time))}`);
      break;
    case "lsn":
      lines.push(`recovery_target_lsn = ${quote(target.lsn)}`);
      break;
    case "transaction":
      lines.push(`recovery_target_xid = ${quote(target.id)}`);
      break;
    case "name":
      lines.push(`recovery_target_name = ${quote(target.name)}`);
      break;
  }
  return lines;
};
