import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";

/** Cores that a process may run on, for example [0, 1, 4]. */
const allowedCores = (): readonly number[] => {
  const list = /^Cpus_allowed_list:\s*(\S+)$/m.exec(readFileSync("/proc/self/status", "utf8"))?.[1] ?? "";
  return list.split(",").flatMap((range) => {
    const [first = Number.NaN, last = first] = range.split("-").map(Number);
    return Array.from({ length: last - first + 1 }, (_, index) => first + index);
  });
};

/** All threads, those that are started later included. */
const keepOn = (pid: number, cores: readonly number[]): void => {
  execFileSync("taskset", ["--all-tasks", "--cpu-list", "--pid", cores.join(","), `${pid}`], {
    stdio: "ignore",
  });
};

/** Ends by letting this process run on all cores again; the servers stay where they are. */
export interface CoreSplit extends Disposable {
  readonly isInEffect: boolean;
}

/**
 * Gives half of the cores to the servers and the others to the clients in this process, as clients are on other
 * machines in earnest: left alone, a system may run both on one core for whole seconds, and what is measured then is
 * the clients' work. Takes effect on Linux with two cores or more.
 */
export const splitCores = (serverPids: readonly number[]): CoreSplit => {
  try {
    const cores = allowedCores();
    const half = Math.floor(cores.length / 2);
    if (half === 0) return { isInEffect: false, [Symbol.dispose]: () => undefined };
    for (const pid of serverPids) keepOn(pid, cores.slice(0, half));
    keepOn(process.pid, cores.slice(half));
    return { isInEffect: true, [Symbol.dispose]: () => keepOn(process.pid, cores) };
  } catch {
    return { isInEffect: false, [Symbol.dispose]: () => undefined };
  }
};
