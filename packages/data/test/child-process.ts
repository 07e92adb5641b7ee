import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

/** A program of `test/processes` in a process of its own, run from its source. */
export class Child implements AsyncDisposable {
  readonly lines: string[] = [];
  readonly #process: ChildProcess;
  readonly #exit: Promise<unknown>;
  readonly #onLine = new Set<() => void>();
  #errors = "";

  constructor(program: string, args: readonly string[]) {
    const file = fileURLToPath(new URL(`./processes/${program}.ts`, import.meta.url));
    this.#process = spawn(
      process.execPath,
      ["--conditions=holdfast-source", "--import", "tsx", file, ...args],
      { stdio: ["ignore", "pipe", "pipe"] },
    );
    this.#exit = once(this.#process, "exit");
    if (this.#process.stdout === null) throw new Error("no output to read");
    createInterface(this.#process.stdout).on("line", (line) => {
      this.lines.push(line);
      for (const look of this.#onLine) look();
    });
    this.#process.stderr?.on("data", (chunk: Buffer) => {
      this.#errors += chunk.toString();
    });
  }

  get pid(): number {
    return this.#process.pid ?? 0;
  }

  /** Waits until the program has printed `count` lines. */
  async printed(count: number): Promise<void> {
    let stop = (): void => undefined;
    const enough = new Promise<void>((resolve) => {
      const look = (): void => {
        if (this.lines.length >= count) resolve();
      };
      this.#onLine.add(look);
      stop = () => this.#onLine.delete(look);
      look();
    });
    try {
      await Promise.race([
        enough,
        this.#exit.then(() => {
          throw new Error(`the program ended after ${this.lines.length} lines: ${this.#errors}`);
        }),
      ]);
    } finally {
      stop();
    }
  }

  /** kill -9, and waits until the process is gone. */
  async kill(): Promise<void> {
    this.#process.kill("SIGKILL");
    await this.#exit;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#process.exitCode === null && this.#process.signalCode === null
      ? this.kill()
      : Promise.resolve();
  }
}
