import { appendFile, chmod, chown, mkdir, readdir, rm, stat, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { RestoreTargetError } from "./backup-errors.ts";
import { type RestoreTarget, recoverySettings } from "./restore-target.ts";
import type { RunAs } from "./tool.ts";

/**
 * Makes an empty directory that only its owner may read, and gives the function that undoes it.
 * @throws RestoreTargetError when there is something in it, or it cannot be made.
 */
export const prepareDirectory = async (
  directory: string,
  runAs: RunAs | undefined,
): Promise<() => Promise<void>> => {
  const names = await readdir(directory).catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") return undefined;
    throw new RestoreTargetError(`${directory} is not a directory that can be read (${error.code})`, {
      cause: error,
    });
  });
  if (names !== undefined && names.length > 0) {
    throw new RestoreTargetError(
      `${directory} is not empty: name a new directory; nothing is ever overwritten`,
    );
  }
  if (names === undefined) {
    const parent = await stat(dirname(directory)).catch(() => undefined);
    if (parent?.isDirectory() !== true) throw new RestoreTargetError(`${dirname(directory)} does not exist`);
    await mkdir(directory, { mode: 0o700 });
  }
  await chmod(directory, 0o700);
  if (runAs !== undefined) await chown(directory, runAs.uid, runAs.gid);
  return async () => {
    for (const name of await readdir(directory))
      await rm(join(directory, name), { recursive: true, force: true });
    if (names === undefined) await rm(directory, { recursive: true, force: true });
  };
};

/** Tells PostgreSQL to recover when it starts. What `ALTER SYSTEM` set stays as it was. */
export const writeRecovery = async (
  directory: string,
  target: RestoreTarget,
  restoreCommand: string | undefined,
  runAs: RunAs | undefined,
): Promise<void> => {
  const lines = [
    "",
    "# Written by a restore: the last of several settings of one name holds.",
    ...recoverySettings(target, restoreCommand),
    "",
  ];
  await appendFile(join(directory, "postgresql.auto.conf"), lines.join("\n"));
  const signal = join(directory, "recovery.signal");
  await writeFile(signal, "", { mode: 0o600 });
  if (runAs !== undefined) await chown(signal, runAs.uid, runAs.gid);
};
