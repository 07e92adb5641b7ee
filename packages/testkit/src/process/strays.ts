import { readdirSync, readFileSync } from "node:fs";
import { waitUntil } from "./wait-until.ts";

/** Processes that name something inside `directory` on their command line: what a server left behind. Linux only. */
const straysOf = (directory: string): readonly number[] => {
  let entries: readonly string[] = [];
  try {
    entries = readdirSync("/proc");
  } catch {
    return [];
  }
  return entries
    .map(Number)
    .filter((pid) => Number.isInteger(pid) && pid !== process.pid)
    .filter((pid) => {
      try {
        return readFileSync(`/proc/${pid}/cmdline`, "utf8").includes(`${directory}/`);
      } catch {
        return false;
      }
    });
};

/** Kills what still works in `directory`, a temporary directory of ours, and waits until it is gone. */
export const killStrays = async (directory: string): Promise<void> => {
  await waitUntil(`the processes in ${directory} to end`, () => {
    const pids = straysOf(directory);
    for (const pid of pids) signalPid(pid, "SIGKILL");
    return pids.length === 0;
  });
};

/** Sends a signal; false when the process is gone. */
export const signalPid = (pid: number, signal: NodeJS.Signals | 0): boolean => {
  try {
    process.kill(pid, signal);
    return true;
  } catch {
    return false;
  }
};
