import { spawn } from "node:child_process";
import { openSync, readFileSync, statSync } from "node:fs";
import type { Clock } from "@holdfast/kernel";
import type { ServerUser } from "./programs.ts";

/** A process by more than its number, which the system gives to another one after its end. */
export interface ProcessId {
  readonly pid: number;
  /** When it began, in the system's own unit; undefined where the system does not tell. */
  readonly startedAt: string | undefined;
}

/** Linux: the 22nd field of stat, after the name in brackets, which may hold anything. */
const startOf = (pid: number): string | undefined => {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    return stat.slice(stat.lastIndexOf(")") + 2).split(" ")[19];
  } catch {
    return undefined;
  }
};

/** A process that has ended and whose parent has not looked yet. */
const isZombie = (pid: number): boolean => {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    return stat.slice(stat.lastIndexOf(")") + 2).startsWith("Z");
  } catch {
    return false;
  }
};

export const identify = (pid: number): ProcessId => ({ pid, startedAt: startOf(pid) });

/** The user that it runs as; undefined where the system does not tell, or it has ended. */
export const ownerOf = (pid: number): number | undefined => {
  try {
    return statSync(`/proc/${pid}`).uid;
  } catch {
    return undefined;
  }
};

export const isRunning = ({ pid, startedAt }: ProcessId): boolean => {
  try {
    process.kill(pid, 0);
  } catch {
    return false;
  }
  return !isZombie(pid) && (startedAt === undefined || startOf(pid) === startedAt);
};

/** False when it has ended already. Never reaches another process that was given the same number. */
export const signal = (id: ProcessId, name: NodeJS.Signals): boolean => {
  if (!isRunning(id)) return false;
  try {
    process.kill(id.pid, name);
    return true;
  } catch {
    return false;
  }
};

/** Asks it to end, and makes it end when it has not within `timeoutMs`. */
export const end = async (
  id: ProcessId,
  options: { readonly clock: Clock; readonly timeoutMs: number; readonly politely?: NodeJS.Signals },
): Promise<void> => {
  signal(id, "SIGCONT");
  signal(id, options.politely ?? "SIGTERM");
  const giveUpAt = options.clock.monotonicNow() + options.timeoutMs;
  while (isRunning(id) && options.clock.monotonicNow() < giveUpAt) await options.clock.sleep(50);
  if (!signal(id, "SIGKILL")) return;
  while (isRunning(id)) await options.clock.sleep(50);
};

/** Starts a server that outlives this command, with its output in `logFile`. @throws when it cannot be started at all. */
export const startServer = (
  command: string,
  args: readonly string[],
  options: { readonly logFile: string; readonly cwd: string; readonly user: ServerUser },
): Promise<ProcessId> =>
  new Promise((resolve, reject) => {
    const log = openSync(options.logFile, "a");
    const { uid, gid } = options.user;
    const child = spawn(command, args, {
      cwd: options.cwd,
      detached: true,
      stdio: ["ignore", log, log],
      // Patroni belongs to the system's Python, whatever stands first on the caller's PATH.
      env: {
        PATH: "/usr/sbin:/usr/bin:/sbin:/bin:/opt/homebrew/bin",
        HOME: options.cwd,
        LC_ALL: "C.UTF-8",
        TZ: "UTC",
      },
      ...(uid === undefined || gid === undefined ? {} : { uid, gid }),
    });
    child.once("error", reject);
    child.once("spawn", () => {
      child.unref();
      resolve(identify(child.pid ?? 0));
    });
  });
