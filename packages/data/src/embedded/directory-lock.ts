import { execFile } from "node:child_process";
import { link, readdir, readFile, rename, unlink, writeFile } from "node:fs/promises";
import { hostname } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { type Random, randomHex } from "@holdfast/kernel";
import { DataDirectoryLockedError } from "./data-directory-errors.ts";

const LOCK_FILE = "lock";
const CLAIM_PREFIX = "lock.claim-";
const DRAFT_PREFIX = "lock.draft-";
const NOBODY = 0;

/** Whose lock it is. A process id alone is not enough: ids are reused, and in containers often 1. */
interface Holder {
  readonly token: string;
  readonly pid: number;
  /** What the system says about when the process began; null where it cannot be asked. */
  readonly processStart: string | null;
  readonly host: string;
  /** Changes with each boot of the machine; null where it cannot be asked. */
  readonly boot: string | null;
}

/** Exclusive use of a directory by one process. */
export interface DirectoryLock {
  /** Idempotent. */
  release(): Promise<void>;
}

/**
 * Takes `directory` for this process, or fails at once when a living process has it. A lock whose process is
 * gone (killed, or from before a reboot) is taken over.
 *
 * The lock is a file that appears atomically with its content (written aside, then hard-linked). Taking over
 * works by claims: whoever creates `lock.claim-<token of the dead lock>` first may replace that lock, and a
 * claim of a process that died meanwhile is succeeded in the same way, by its own token. So of several
 * processes that find the same dead lock exactly one gets it.
 *
 * @throws DataDirectoryLockedError naming the process that has it; nothing was changed.
 */
export const lockDirectory = async (directory: string, random: Random): Promise<DirectoryLock> => {
  const own: Holder = {
    token: randomHex(random, 16),
    pid: process.pid,
    processStart: await processStartOf(process.pid),
    host: hostname(),
    boot: await bootId(),
  };
  const lockFile = join(directory, LOCK_FILE);
  const draft = join(directory, `${DRAFT_PREFIX}${own.token}`);
  await writeFile(draft, JSON.stringify(own), { flag: "wx" });
  try {
    while (!(await createLink(draft, lockFile))) {
      const current = await readHolder(lockFile);
      if (current === undefined) continue;
      await refuseIfAlive(directory, current, own);
      if (await takeOver(directory, lockFile, draft, current, own)) break;
    }
  } finally {
    await remove(draft);
  }
  return {
    release: async () => {
      if ((await readHolder(lockFile))?.token === own.token) await remove(lockFile);
    },
  };
};

/** Returns false when the lock changed meanwhile: look at it again. */
const takeOver = async (
  directory: string,
  lockFile: string,
  draft: string,
  dead: Holder,
  own: Holder,
): Promise<boolean> => {
  let claim = join(directory, `${CLAIM_PREFIX}${dead.token}`);
  while (!(await createLink(draft, claim))) {
    const claimant = await readHolder(claim);
    if (claimant === undefined) return false;
    await refuseIfAlive(directory, claimant, own);
    claim = join(directory, `${CLAIM_PREFIX}${claimant.token}`);
  }
  // Whoever replaced the lock before us did so before removing the claim, so this look is not too early.
  if ((await readHolder(lockFile))?.token !== dead.token) {
    await remove(claim);
    return false;
  }
  await rename(draft, lockFile);
  for (const name of await readdir(directory)) {
    if (name.startsWith(CLAIM_PREFIX) || name.startsWith(DRAFT_PREFIX))
      await removeIfDead(join(directory, name), own);
  }
  return true;
};

const removeIfDead = async (file: string, own: Holder): Promise<void> => {
  const holder = await readHolder(file);
  if (holder === undefined || holder.token === own.token || !(await isAlive(holder, own))) await remove(file);
};

const refuseIfAlive = async (directory: string, holder: Holder, own: Holder): Promise<void> => {
  if (await isAlive(holder, own)) {
    throw new DataDirectoryLockedError(directory, {
      pid: holder.pid,
      host: holder.host,
      sameHost: holder.host === own.host,
    });
  }
};

/** Whether the process runs. Of a process on another host nobody here can tell, so it counts as running. */
const isAlive = async (holder: Holder, own: Holder): Promise<boolean> => {
  if (holder.pid === NOBODY) return false;
  if (holder.host !== own.host) return true;
  if (holder.boot !== null && own.boot !== null && holder.boot !== own.boot) return false;
  if (holder.pid === own.pid && holder.processStart === own.processStart) return true;
  try {
    process.kill(holder.pid, 0);
  } catch (error) {
    // EPERM: it runs, as another user.
    if ((error as NodeJS.ErrnoException).code === "ESRCH") return false;
  }
  const start = await processStartOf(holder.pid);
  return start === null || holder.processStart === null || start === holder.processStart;
};

/** Something that differs between two processes that had the same id one after the other. */
const processStartOf = async (pid: number): Promise<string | null> => {
  try {
    const stat = await readFile(`/proc/${pid}/stat`, "utf8");
    // The second field is the program's name in parentheses and may hold spaces; the start time is the 22nd.
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    // A zombie has ended; its id is not free yet, but it holds nothing.
    return fields[0] === "Z" ? "ended" : (fields[19] ?? null);
  } catch {
    return processStartByPs(pid);
  }
};

const processStartByPs = async (pid: number): Promise<string | null> => {
  try {
    const { stdout } = await promisify(execFile)("ps", ["-o", "lstart=", "-p", String(pid)]);
    return stdout.trim() || null;
  } catch {
    return null;
  }
};

const bootId = async (): Promise<string | null> => {
  try {
    return (await readFile("/proc/sys/kernel/random/boot_id", "utf8")).trim();
  } catch {
    return null;
  }
};

/** A file that cannot be read as a holder (cut short by a full disk) belongs to nobody living. */
const readHolder = async (file: string): Promise<Holder | undefined> => {
  let text: string;
  try {
    text = await readFile(file, "utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
  try {
    const holder = JSON.parse(text) as Holder;
    if (typeof holder.token === "string" && typeof holder.pid === "number") return holder;
  } catch {
    // Falls through to the nameless holder.
  }
  return { token: "unreadable", pid: NOBODY, processStart: null, host: hostname(), boot: null };
};

/** Returns false when `to` exists already. */
const createLink = async (from: string, to: string): Promise<boolean> => {
  try {
    await link(from, to);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "EEXIST") return false;
    throw error;
  }
};

const remove = async (file: string): Promise<void> => {
  try {
    await unlink(file);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
  }
};
