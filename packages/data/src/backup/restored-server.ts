import { type ChildProcess, spawn } from "node:child_process";
import { readFile } from "node:fs/promises";
import { createServer } from "node:net";
import { join } from "node:path";
import { type Abortable, type Clock, deferred, type Random } from "@holdfast/kernel";
import { openPostgres } from "../postgres/open-postgres.ts";
import type { Database } from "../sql/database.ts";
import { RestoreFailedError } from "./backup-errors.ts";
import { findBinDirectory, type RunAs, SEARCH_PATH } from "./tool.ts";

const OUTPUT_MAX_LENGTH = 8_000;
const POLL_MS = 50;
const STOP_TIMEOUT_MS = 60_000;

export interface RestoredServerOptions extends Abortable {
  readonly directory: string;
  readonly binDirectory?: string | undefined;
  readonly runAs?: RunAs | undefined;
  readonly clock: Clock;
  readonly random: Random;
  /** Milliseconds until it must have recovered and take writes. */
  readonly timeoutMs: number;
  /** The role to connect as, and a database that exists. Default postgres and postgres. */
  readonly user?: string | undefined;
  readonly database?: string | undefined;
  readonly password?: string | undefined;
}

/** A server on a restored directory, on a free port of the loopback address, for looking at what was restored. */
export class RestoredServer implements AsyncDisposable {
  readonly database: Database;
  readonly port: number;
  readonly #child: ChildProcess;
  readonly #exited: Promise<void>;
  readonly #clock: Clock;

  private constructor(init: {
    readonly database: Database;
    readonly port: number;
    readonly child: ChildProcess;
    readonly exited: Promise<void>;
    readonly clock: Clock;
  }) {
    this.database = init.database;
    this.port = init.port;
    this.#child = init.child;
    this.#exited = init.exited;
    this.#clock = init.clock;
  }

  /**
   * Starts it and waits until it has recovered and takes writes. It archives nothing: its log must not mix with
   * that of the server whose copy it is.
   * @throws RestoreFailedError with what it said; it is stopped then.
   */
  static async start(options: RestoredServerOptions): Promise<RestoredServer> {
    const { directory, clock, random, signal, timeoutMs, runAs } = options;
    const major = Number.parseInt(await readFile(join(directory, "PG_VERSION"), "utf8"), 10);
    const bin = options.binDirectory ?? (await findBinDirectory(major));
    const port = await freePort();
    const settings = {
      port,
      listen_addresses: "127.0.0.1",
      unix_socket_directories: "",
      archive_mode: "off",
      synchronous_standby_names: "",
      primary_conninfo: "",
      logging_collector: "off",
      log_destination: "stderr",
      ssl: "off",
    };
    const args = Object.entries(settings).flatMap(([name, value]) => ["-c", `${name}=${value}`]);
    const child = spawn(join(bin, "postgres"), ["-D", directory, ...args], {
      stdio: ["ignore", "pipe", "pipe"],
      cwd: directory,
      env: { PATH: SEARCH_PATH, LC_ALL: "C" },
      ...(runAs === undefined ? {} : runAs),
    });
    let said = "";
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding("utf8");
      stream.on("data", (chunk: string) => {
        said = (said + chunk).slice(-OUTPUT_MAX_LENGTH);
      });
    }
    const exit = deferred<void>();
    let hasEnded = false;
    for (const event of ["exit", "error"]) {
      child.once(event, () => {
        hasEnded = true;
        exit.resolve();
      });
    }
    const until = clock.monotonicNow() + timeoutMs;
    const { user = "postgres", database: name = "postgres", password } = options;
    const secret = password === undefined ? "" : `:${encodeURIComponent(password)}`;
    const url = `postgres://${encodeURIComponent(user)}${secret}@127.0.0.1:${port}/${encodeURIComponent(name)}`;
    let last: unknown;
    try {
      while (!hasEnded && clock.monotonicNow() < until) {
        signal?.throwIfAborted();
        let database: Database | undefined;
        try {
          database = await openPostgres({
            url,
            max: 4,
            statementTimeoutMs: 0,
            clock,
            random,
            connectTimeoutMs: 2_000,
          });
          const [row] = await database.query<{ recovering: boolean }>(
            "SELECT pg_is_in_recovery() AS recovering",
          );
          if (row?.recovering === false)
            return new RestoredServer({ database, port, child, exited: exit.promise, clock });
        } catch (error) {
          last = error;
        }
        await database?.close({ graceMs: 0 });
        await clock.sleep(POLL_MS, { signal });
      }
    } catch (error) {
      child.kill("SIGQUIT");
      await exit.promise;
      throw error;
    }
    child.kill("SIGQUIT");
    await exit.promise;
    const reason =
      clock.monotonicNow() < until ? "the server ended" : `it takes no writes after ${timeoutMs} ms`;
    throw new RestoreFailedError(directory, reason, lastLines(said), { cause: last });
  }

  /** Ends it in order; the directory can be started from again. */
  async stop(): Promise<void> {
    await this.database.close({ graceMs: 1_000 });
    this.#child.kill("SIGINT");
    const timer = this.#clock.schedule(STOP_TIMEOUT_MS, () => this.#child.kill("SIGKILL"));
    await this.#exited;
    timer.cancel();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.stop();
  }
}

const lastLines = (text: string): string =>
  text
    .split("\n")
    .filter((line) => /FATAL|PANIC|ERROR|recovery|could not/.test(line))
    .slice(-6)
    .join(" | ");

const freePort = (): Promise<number> =>
  new Promise((resolve, reject) => {
    const server = createServer();
    server.once("error", reject);
    server.listen(0, "127.0.0.1", () => {
      const address = server.address();
      server.close(() => resolve(typeof address === "object" && address !== null ? address.port : 0));
    });
  });
