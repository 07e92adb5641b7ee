import { type ChildProcess, spawn } from "node:child_process";
import { type Abortable, systemClock } from "@holdfast/kernel";
import { ProcessFailedError } from "../errors.ts";
import { forgetPid, reapPid } from "./reaper.ts";

export interface ProcessOptions {
  readonly cwd?: string;
  /** Replaces the environment; default: this process's own. */
  readonly env?: Readonly<Record<string, string | undefined>>;
  readonly uid?: number;
  readonly gid?: number;
  /** What `stop` sends first. Default SIGTERM. */
  readonly stopSignal?: "SIGTERM" | "SIGQUIT";
  /** How long `stop` waits before it sends SIGKILL, in milliseconds. Default 5_000. */
  readonly stopTimeoutMs?: number;
  /** Shown in errors; default the command. */
  readonly name?: string;
  /** How many lines of stdout are kept in `stdout`; older ones are dropped. Default 2_000. */
  readonly stdoutMaxCount?: number;
}

export interface ProcessExit {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

/** Lines kept for `waitForLine` and error messages; older ones are dropped. */
const LINE_MAX_COUNT = 2_000;
const TAIL_COUNT = 20;
/** What `runToEnd` gives at most. */
const OUTPUT_MAX_COUNT = 1_000_000;

interface LineWaiter {
  readonly pattern: RegExp;
  readonly resolve: (match: RegExpExecArray) => void;
}

/**
 * A child process that cannot outlive its test: it is stopped on dispose and, should the test process die
 * first, by a watchdog. Output is kept line by line, the last 2,000 of stdout and stderr together.
 */
export class ManagedProcess implements AsyncDisposable {
  readonly pid: number;
  /** Settles when the process has ended, however that came about. Never rejects. */
  readonly exited: Promise<ProcessExit>;
  /** Settles when the process has ended and all of its output was read. */
  readonly closed: Promise<ProcessExit>;
  readonly #child: ChildProcess;
  readonly #name: string;
  readonly #stopSignal: NodeJS.Signals;
  readonly #stopTimeoutMs: number;
  readonly #stdoutMaxCount: number;
  readonly #lines: string[] = [];
  readonly #stdout: string[] = [];
  readonly #waiters = new Set<LineWaiter>();
  #exit: ProcessExit | undefined;

  constructor(child: ChildProcess, pid: number, name: string, options: ProcessOptions) {
    this.#child = child;
    this.pid = pid;
    this.#name = name;
    this.#stopSignal = options.stopSignal ?? "SIGTERM";
    this.#stopTimeoutMs = options.stopTimeoutMs ?? 5_000;
    this.#stdoutMaxCount = options.stdoutMaxCount ?? LINE_MAX_COUNT;
    reapPid(pid, this.#stopSignal === "SIGQUIT" ? "QUIT" : "TERM");
    this.exited = new Promise((resolve) => {
      child.once("exit", (code, signal) => {
        forgetPid(pid);
        this.#exit = { code, signal };
        resolve(this.#exit);
      });
    });
    this.closed = new Promise((resolve) => {
      child.once("close", (code, signal) => resolve({ code, signal }));
    });
    this.#read(child.stdout, this.#stdout);
    this.#read(child.stderr, undefined);
  }

  get running(): boolean {
    return this.#exit === undefined;
  }

  /** Stdout and stderr, as far as they are kept. */
  get output(): string {
    return this.#lines.join("\n");
  }

  /** The lines of stdout, as far as they are kept. */
  get stdout(): readonly string[] {
    return this.#stdout;
  }

  /**
   * Waits for a line that matches, seen already or still to come, on stdout or stderr.
   *
   * @param options.timeoutMs Default 30_000.
   * @throws ProcessFailedError when the time is over or the process ends first.
   * @throws signal.reason when aborted.
   */
  async waitForLine(
    pattern: RegExp,
    options: Abortable & { readonly timeoutMs?: number } = {},
  ): Promise<RegExpExecArray> {
    const timeoutMs = options.timeoutMs ?? 30_000;
    for (const line of this.#lines) {
      const match = pattern.exec(line);
      if (match) return match;
    }
    options.signal?.throwIfAborted();
    return new Promise<RegExpExecArray>((resolve, reject) => {
      const settle = (finish: () => void): void => {
        timer.cancel();
        this.#waiters.delete(waiter);
        options.signal?.removeEventListener("abort", onAbort);
        finish();
      };
      const fail = (what: string): void =>
        settle(() => reject(new ProcessFailedError(`${this.#name} ${what}`, this.#tail())));
      const onAbort = (): void => settle(() => reject(options.signal?.reason));
      const waiter: LineWaiter = { pattern, resolve: (match) => settle(() => resolve(match)) };
      const timer = systemClock.schedule(timeoutMs, () =>
        fail(`printed no line like ${pattern} within ${timeoutMs} ms`),
      );
      this.#waiters.add(waiter);
      options.signal?.addEventListener("abort", onAbort, { once: true });
      // One turn later, so that output which came with the exit is still looked at.
      void this.exited.then(() =>
        setImmediate(() => {
          if (this.#waiters.has(waiter))
            fail(`ended (${this.#describeExit()}) before a line like ${pattern}`);
        }),
      );
    });
  }

  /** Writes to the standard input. */
  write(text: string): void {
    this.#child.stdin?.write(text);
  }

  /** Ends the standard input. */
  closeInput(): void {
    this.#child.stdin?.end();
  }

  /**
   * Sends a signal (default SIGKILL) and, unless it only stops or continues, waits until the process has ended. One
   * that is frozen goes on for that: it could not take the signal.
   */
  async kill(signal: NodeJS.Signals = "SIGKILL"): Promise<ProcessExit | undefined> {
    if (this.running) this.#child.kill(signal);
    if (signal === "SIGSTOP" || signal === "SIGCONT") return undefined;
    // After the signal, so that nothing runs in between.
    this.resume();
    return this.exited;
  }

  /** Freezes the process: its sockets stay open and answer nothing. */
  pause(): void {
    if (this.running) this.#child.kill("SIGSTOP");
  }

  resume(): void {
    if (this.running) this.#child.kill("SIGCONT");
  }

  /** Ends the process: its stop signal first, SIGKILL when that was not enough. Idempotent. */
  async stop(): Promise<ProcessExit> {
    if (this.running) {
      this.#child.kill("SIGCONT");
      this.#child.kill(this.#stopSignal);
      const timer = systemClock.schedule(this.#stopTimeoutMs, () => this.#child.kill("SIGKILL"));
      await this.exited;
      timer.cancel();
    }
    // A grandchild may still hold the pipes; we do not wait for it.
    this.#child.stdin?.destroy();
    this.#child.stdout?.destroy();
    this.#child.stderr?.destroy();
    return this.exited;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }

  #tail(): string {
    return this.#lines.slice(-TAIL_COUNT).join("\n");
  }

  #describeExit(): string {
    return this.#exit?.signal ?? `code ${this.#exit?.code}`;
  }

  #read(stream: NodeJS.ReadableStream | null, also: string[] | undefined): void {
    if (!stream) return;
    let rest = "";
    stream.setEncoding("utf8");
    stream.on("data", (chunk: string) => {
      const parts = (rest + chunk).split("\n");
      rest = parts.pop() ?? "";
      for (const line of parts) this.#take(line, also);
    });
    stream.on("end", () => {
      if (rest !== "") this.#take(rest, also);
    });
    stream.on("error", () => undefined);
  }

  #take(line: string, also: string[] | undefined): void {
    this.#lines.push(line);
    if (this.#lines.length > LINE_MAX_COUNT) this.#lines.shift();
    also?.push(line);
    if (also !== undefined && also.length > this.#stdoutMaxCount) also.shift();
    for (const waiter of [...this.#waiters]) {
      const match = waiter.pattern.exec(line);
      if (match) waiter.resolve(match);
    }
  }
}

/**
 * Starts a program with piped standard streams.
 * @throws ProcessFailedError when it cannot be started at all (not found, not executable).
 */
export const startProcess = async (
  command: string,
  args: readonly string[],
  options: ProcessOptions = {},
): Promise<ManagedProcess> => {
  const name = options.name ?? command;
  const failed = (cause: Error): ProcessFailedError =>
    new ProcessFailedError(`${name} could not be started: ${cause.message}`, "", { cause });
  let child: ChildProcess;
  try {
    child = spawn(command, args, {
      stdio: ["pipe", "pipe", "pipe"],
      ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
      ...(options.env === undefined ? {} : { env: options.env }),
      ...(options.uid === undefined ? {} : { uid: options.uid }),
      ...(options.gid === undefined ? {} : { gid: options.gid }),
    });
  } catch (error) {
    // Some of the kernel's refusals are thrown, the others are told by an event.
    throw failed(error as Error);
  }
  // Not there when there was no descriptor left for it.
  child.stdin?.on("error", () => undefined);
  const { pid } = child;
  if (pid === undefined) throw failed(await new Promise<Error>((resolve) => child.once("error", resolve)));
  child.on("error", () => undefined);
  return new ManagedProcess(child, pid, name, options);
};

/**
 * Runs a program to its end and gives its standard output.
 * @throws ProcessFailedError when it ends with anything but code 0, or not within `timeoutMs` (default 60_000),
 * or prints a million lines and more.
 */
export const runToEnd = async (
  command: string,
  args: readonly string[],
  options: ProcessOptions & { readonly input?: string; readonly timeoutMs?: number } = {},
): Promise<string> => {
  const name = options.name ?? command;
  const child = await startProcess(command, args, { ...options, stdoutMaxCount: OUTPUT_MAX_COUNT });
  if (options.input !== undefined) child.write(options.input);
  child.closeInput();
  const timeoutMs = options.timeoutMs ?? 60_000;
  let late = false;
  const timer = systemClock.schedule(timeoutMs, () => {
    late = true;
    // What it started may hold its output open: `stop` lets go of it.
    void child.kill().then(() => child.stop());
  });
  const exit = await child.closed;
  timer.cancel();
  if (late) throw new ProcessFailedError(`${name} took longer than ${timeoutMs} ms`, child.output);
  if (exit.code !== 0) {
    throw new ProcessFailedError(`${name} failed (${exit.signal ?? `code ${exit.code}`})`, child.output);
  }
  if (child.stdout.length >= OUTPUT_MAX_COUNT)
    throw new ProcessFailedError(`${name} printed ${OUTPUT_MAX_COUNT} lines or more`, "");
  return child.stdout.join("\n");
};
