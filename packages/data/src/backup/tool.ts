import { spawn } from "node:child_process";
import { access, constants } from "node:fs/promises";
import { join } from "node:path";
import type { Abortable, Clock } from "@holdfast/kernel";
import { BackupToolError } from "./backup-errors.ts";

/** Which user runs PostgreSQL's programs, where this process is root: they refuse root. */
export interface RunAs {
  readonly uid: number;
  readonly gid: number;
}

export interface ToolOptions extends Abortable {
  readonly clock: Clock;
  readonly runAs?: RunAs | undefined;
  readonly cwd?: string | undefined;
  readonly env?: Readonly<Record<string, string | undefined>> | undefined;
  /** Milliseconds; then it is killed. Default 6 hours: a base backup of a large database takes its time. */
  readonly timeoutMs?: number | undefined;
}

export const SEARCH_PATH = "/usr/local/bin:/usr/bin:/bin";
const TIMEOUT_MS = 6 * 3_600_000;
/** What a program says is kept up to here; the end of it tells what went wrong. */
const OUTPUT_MAX_LENGTH = 1 << 20;
const TAIL_LENGTH = 2_000;

export interface ToolResult {
  readonly stdout: string;
  readonly stderr: string;
}

/**
 * Runs a program to its end, and what it starts: pg_basebackup fetches the log by a process of its own. All of them are
 * one process group, which is killed as a whole; that also keeps a Ctrl-C in a terminal from them, so abort `signal`.
 * @throws BackupToolError when it cannot be started, fails, or takes too long; everything was killed.
 * @throws signal.reason when aborted; everything was killed.
 */
export const runTool = async (
  command: string,
  args: readonly string[],
  options: ToolOptions,
): Promise<ToolResult> => {
  const { clock, runAs, cwd, env, signal, timeoutMs = TIMEOUT_MS } = options;
  signal?.throwIfAborted();
  const child = spawn(command, args, {
    stdio: ["ignore", "pipe", "pipe"],
    cwd: cwd ?? "/",
    env: { PATH: SEARCH_PATH, LC_ALL: "C", ...env },
    detached: true,
    ...(runAs === undefined ? {} : runAs),
  });
  const output = { stdout: "", stderr: "" };
  for (const name of ["stdout", "stderr"] as const) {
    child[name].setEncoding("utf8");
    child[name].on("data", (chunk: string) => {
      output[name] = (output[name] + chunk).slice(-OUTPUT_MAX_LENGTH);
    });
  }
  let late = false;
  const onAbort = (): void => killGroup(child.pid);
  signal?.addEventListener("abort", onAbort, { once: true });
  const timer = clock.schedule(timeoutMs, () => {
    late = true;
    killGroup(child.pid);
  });
  const name = command.split("/").at(-1) ?? command;
  try {
    const ended = await new Promise<string | undefined>((resolve, reject) => {
      child.once("error", (cause) =>
        reject(new BackupToolError(name, `cannot be started: ${cause.message}`, "", { cause })),
      );
      child.once("close", (code, by) =>
        resolve(code === 0 ? undefined : by === null ? `ended with code ${code}` : `was killed by ${by}`),
      );
    });
    signal?.throwIfAborted();
    if (ended === undefined) return output;
    const reason = late ? `took longer than ${timeoutMs} ms` : ended;
    throw new BackupToolError(name, reason, (output.stderr || output.stdout).trim().slice(-TAIL_LENGTH));
  } finally {
    timer.cancel();
    signal?.removeEventListener("abort", onAbort);
  }
};

/** The program and all that it started. One of them that was left would go on, and keep the outputs open. */
const killGroup = (pid: number | undefined): void => {
  if (pid === undefined) return;
  try {
    process.kill(-pid, "SIGKILL");
  } catch {
    // All of them have ended.
  }
};

/**
 * Where PostgreSQL's programs of this major version are: in Debian's place when they are there, else on the
 * usual path (an empty string).
 */
export const findBinDirectory = async (major: number): Promise<string> => {
  for (const directory of [`/usr/lib/postgresql/${major}/bin`, `/usr/pgsql-${major}/bin`]) {
    try {
      await access(join(directory, "pg_basebackup"), constants.X_OK);
      return directory;
    } catch {
      // Another place.
    }
  }
  return "";
};
