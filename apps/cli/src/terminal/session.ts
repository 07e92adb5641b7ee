import type { Clock } from "@holdfast/kernel";
import { createStyle, type Style } from "./style.ts";

/** What a command may touch of the process it runs in: its streams, environment and time. */
export interface Session {
  readonly stdout: NodeJS.WriteStream;
  readonly stderr: NodeJS.WriteStream;
  readonly env: NodeJS.ProcessEnv;
  readonly cwd: string;
  readonly clock: Clock;
  /** Aborts on the first Ctrl-C or SIGTERM. */
  readonly signal: AbortSignal;
  readonly style: Style;
  readonly errorStyle: Style;
  print(line: string): void;
  printError(line: string): void;
  /** One JSON document on one line; bigint as decimal string. */
  printJson(value: unknown): void;
}

export const createSession = (options: {
  readonly stdout: NodeJS.WriteStream;
  readonly stderr: NodeJS.WriteStream;
  readonly env: NodeJS.ProcessEnv;
  readonly cwd: string;
  readonly clock: Clock;
  readonly signal: AbortSignal;
}): Session => ({
  ...options,
  style: createStyle(options.stdout, options.env),
  errorStyle: createStyle(options.stderr, options.env),
  print: (line) => void options.stdout.write(`${line}\n`),
  printError: (line) => void options.stderr.write(`${line}\n`),
  printJson: (value) =>
    void options.stdout.write(
      `${JSON.stringify(value, (_key, item: unknown) => (typeof item === "bigint" ? item.toString() : item))}\n`,
    ),
});
