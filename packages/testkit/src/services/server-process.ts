import { systemClock } from "@holdfast/kernel";
import { ProcessFailedError } from "../errors.ts";
import type { ManagedProcess } from "../process/managed-process.ts";
import type { ResourceStack } from "../process/resource-stack.ts";

/** Ten seconds in all: a crashed PostgreSQL's shared memory is free again after one or two. */
const START_MAX_COUNT = 100;
const START_AGAIN_MS = 100;

/** What every service of the testkit can be made to suffer. */
export interface RunningServer extends AsyncDisposable {
  /** Of the server's main process; a new one after each start, 0 before the first. */
  readonly pid: number;
  readonly running: boolean;
  /** The last lines that the server printed since its last start. */
  readonly log: string;
  /** Sends a signal to the main process (default SIGKILL, a crash) and waits until it has ended. */
  kill(signal?: "SIGKILL" | "SIGQUIT" | "SIGINT" | "SIGTERM"): Promise<void>;
  /** Freezes the main process: the kernel goes on accepting connections, nobody answers them. */
  pause(): void;
  resume(): void;
  /** Starts it again after `kill`, on the same port and data; returns when it answers. */
  start(): Promise<void>;
  /** An orderly stop, then a start. */
  restart(): Promise<void>;
}

export interface ServerProcessOptions {
  readonly name: string;
  launch(): Promise<ManagedProcess>;
  /** Resolves when the server serves. */
  ready(process: ManagedProcess): Promise<unknown>;
  /** What `restart` stops it with. Default SIGTERM. */
  readonly orderlySignal?: "SIGINT" | "SIGTERM";
  /** True when the output of a failed start tells of something that passes by itself. */
  readonly transient?: RegExp;
  /** Everything that the server uses; undone on dispose, after the server's own end. */
  readonly resources: ResourceStack;
}

/** One server program that can be killed, frozen and started again while everything around it stays. */
export class ServerProcess implements RunningServer {
  readonly #options: ServerProcessOptions;
  #process: ManagedProcess | undefined;

  constructor(options: ServerProcessOptions) {
    this.#options = options;
    options.resources.defer(async () => {
      await this.#process?.stop();
    });
  }

  get pid(): number {
    return this.#process?.pid ?? 0;
  }

  get running(): boolean {
    return this.#process?.running ?? false;
  }

  get log(): string {
    return this.#process?.output ?? "";
  }

  async kill(signal: "SIGKILL" | "SIGQUIT" | "SIGINT" | "SIGTERM" = "SIGKILL"): Promise<void> {
    await this.#process?.kill(signal);
  }

  pause(): void {
    this.#process?.pause();
  }

  resume(): void {
    this.#process?.resume();
  }

  async start(): Promise<void> {
    for (let attempt = 1; !(await this.#tryStart()); attempt++) {
      if (attempt === START_MAX_COUNT) {
        throw new ProcessFailedError(`${this.#options.name} did not start in ${attempt} attempts`, "");
      }
      await systemClock.sleep(START_AGAIN_MS);
    }
  }

  async restart(): Promise<void> {
    await this.kill(this.#options.orderlySignal ?? "SIGTERM");
    await this.start();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#options.resources[Symbol.asyncDispose]();
  }

  /** False when it may work in a moment; throws when waiting would not help. */
  async #tryStart(): Promise<boolean> {
    if (this.running) return true;
    const server = await this.#options.launch();
    try {
      await this.#options.ready(server);
    } catch (error) {
      await server.stop();
      if (error instanceof ProcessFailedError && this.#options.transient?.test(server.output)) return false;
      throw error;
    }
    this.#process = server;
    return true;
  }
}
