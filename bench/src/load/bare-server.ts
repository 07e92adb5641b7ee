import { type ChildProcess, spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

/** When the scripted stall began and ended, milliseconds since the epoch with a fraction. */
export interface Stall {
  readonly beganAt: number;
  readonly endedAt: number;
}

export interface BareServer {
  readonly url: string;
  /** Settles when the scripted stall is over. */
  readonly stall: Promise<Stall>;
  stop(): Promise<void>;
}

/** Starts the server in a process of its own, so that it shares no core with the one that measures. */
export const startBareServer = async (
  script: { readonly stallAfterMs: number; readonly stallMs: number } | undefined = undefined,
): Promise<BareServer> => {
  const file = fileURLToPath(new URL("./bare-server.mjs", import.meta.url));
  const times = script === undefined ? [] : [script.stallAfterMs, script.stallMs];
  const child = spawn(process.execPath, [file, ...times.map(String)], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const next = async (): Promise<string> => {
    const { value, done } = await lines.next();
    if (done) throw new Error("the server ended");
    return value as string;
  };
  const url = `http://127.0.0.1:${await next()}/`;
  const stall = next().then((line) => JSON.parse(line) as Stall);
  stall.catch(() => undefined);
  return { url, stall, stop: () => ended(child) };
};

const ended = (child: ChildProcess): Promise<void> =>
  new Promise((resolve) => {
    child.once("exit", () => resolve());
    child.kill();
  });
