import { appendFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { ProcessFailedError, ServiceUnavailableError } from "../errors.ts";
import { findPostgresBin } from "../process/find-program.ts";
import { type ManagedProcess, runToEnd, startProcess } from "../process/managed-process.ts";
import { reservePort } from "../process/reserve-port.ts";
import { building, type ResourceStack } from "../process/resource-stack.ts";
import { serviceUser } from "../process/service-user.ts";
import { makeTempDirectory } from "../process/temp-directory.ts";
import { waitUntil } from "../process/wait-until.ts";
import { findPostgresExtension, requireService } from "./availability.ts";
import { postgresImage } from "./postgres-image.ts";

export type PostgresSettings = Readonly<Record<string, string | number | boolean>>;

export interface PostgresOptions {
  /** Major version. Default: 15 where it is installed, else the newest that is. */
  readonly version?: number;
  /** Lines of postgresql.conf. They win over the defaults of `startPostgres`. */
  readonly settings?: PostgresSettings;
  /** Created in every database, with what they depend on. `vector` needs pgvector, `citus` its preload setting. */
  readonly extensions?: readonly string[];
  /** Demanded from every client (SCRAM-SHA-256). Default: everybody on this machine may enter without one. */
  readonly password?: string;
}

/** A PostgreSQL server of one's own. Whatever is written to it is gone after dispose. */
export interface PostgresServer extends AsyncDisposable {
  /** `postgres://postgres@127.0.0.1:PORT/postgres`, with the password when one was asked for. */
  readonly url: string;
  readonly host: string;
  readonly port: number;
  readonly dataDirectory: string;
  /** Of the postmaster; a new one after each start. */
  readonly pid: number;
  readonly running: boolean;
  /** The last lines of the server's log. */
  readonly log: string;
  /** The same address with another database. */
  urlOf(database: string): string;
  /** Creates a database (from a template in some 50 ms) and gives its address. */
  createDatabase(name: string, options?: { readonly template?: string }): Promise<string>;
  /** Runs SQL through psql and gives its unaligned output: for fixtures, not for what is tested. */
  sql(text: string, options?: { readonly database?: string }): Promise<string>;
  /** Sends a signal to the postmaster (default SIGKILL, a crash) and waits until it has ended. */
  kill(signal?: "SIGKILL" | "SIGQUIT" | "SIGINT" | "SIGTERM"): Promise<void>;
  /** Freezes the postmaster: the kernel accepts connections that nobody answers. Open sessions go on. */
  pause(): void;
  resume(): void;
  /** Starts it again after `kill`, on the same port and data. */
  start(): Promise<void>;
  /** A fast shutdown, then a start. */
  restart(): Promise<void>;
  /** A streaming replica of this server, from a base backup, on a port of its own. Caught up when this returns. */
  startReplica(options?: { readonly settings?: PostgresSettings }): Promise<PostgresServer>;
}

const DEFAULT_SETTINGS: PostgresSettings = {
  listen_addresses: "127.0.0.1",
  unix_socket_directories: "",
  // The directory is thrown away, and a killed process loses nothing from the page cache.
  fsync: false,
  shared_buffers: "32MB",
  max_connections: 100,
  max_prepared_transactions: 20,
  jit: false,
  wal_receiver_status_interval: "1s",
  wal_retrieve_retry_interval: "200ms",
  timezone: "UTC",
  log_timezone: "UTC",
};

const READY = /database system is ready to accept (?:read-only )?connections/;
/** After a crash a backend may hold the old shared memory for a moment; the new server says so and ends. */
const STILL_IN_USE = /pre-existing shared memory block|lock file "postmaster.pid" already exists/;

const quote = (value: string | number | boolean): string =>
  typeof value === "boolean" ? (value ? "on" : "off") : `'${String(value).replaceAll("'", "''")}'`;

const configLines = (settings: PostgresSettings): string =>
  Object.entries(settings)
    .map(([name, value]) => `${name} = ${quote(value)}\n`)
    .join("");

const asServiceUser = (): { uid?: number; gid?: number } => {
  const { uid, gid } = serviceUser();
  return uid === undefined || gid === undefined ? {} : { uid, gid };
};

interface PostgresParts {
  readonly bin: string;
  readonly port: number;
  readonly dataDirectory: string;
  readonly password: string | undefined;
  readonly resources: ResourceStack;
}

class Postgres implements PostgresServer {
  readonly host = "127.0.0.1";
  readonly port: number;
  readonly dataDirectory: string;
  readonly #parts: PostgresParts;
  #process: ManagedProcess | undefined;

  constructor(parts: PostgresParts) {
    this.#parts = parts;
    this.port = parts.port;
    this.dataDirectory = parts.dataDirectory;
    parts.resources.defer(async () => {
      await this.#process?.stop();
    });
  }

  get url(): string {
    return this.urlOf("postgres");
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

  urlOf(database: string): string {
    const { password } = this.#parts;
    const secret = password === undefined ? "" : `:${encodeURIComponent(password)}`;
    return `postgres://postgres${secret}@${this.host}:${this.port}/${encodeURIComponent(database)}`;
  }

  async createDatabase(name: string, options: { readonly template?: string } = {}): Promise<string> {
    const quoteName = (text: string): string => `"${text.replaceAll('"', '""')}"`;
    const template = options.template === undefined ? "" : ` TEMPLATE ${quoteName(options.template)}`;
    await this.sql(`CREATE DATABASE ${quoteName(name)}${template}`);
    return this.urlOf(name);
  }

  async sql(text: string, options: { readonly database?: string } = {}): Promise<string> {
    return runToEnd(
      join(this.#parts.bin, "psql"),
      ["-XAtq", "-v", "ON_ERROR_STOP=1", "-h", this.host, "-p", String(this.port), "-U", "postgres"],
      {
        name: "psql",
        env: {
          PATH: process.env["PATH"],
          PGDATABASE: options.database ?? "postgres",
          PGPASSWORD: this.#parts.password,
          PGCONNECT_TIMEOUT: "5",
        },
        input: text,
      },
    );
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
    await waitUntil(`PostgreSQL on port ${this.port} to start`, () => this.#tryStart(), {
      timeoutMs: 20_000,
      intervalMs: 100,
    });
  }

  async restart(): Promise<void> {
    await this.kill("SIGINT");
    await this.start();
  }

  async startReplica(options: { readonly settings?: PostgresSettings } = {}): Promise<PostgresServer> {
    const { bin, password } = this.#parts;
    return building(async (resources) => {
      const directory = resources.use(
        await makeTempDirectory("holdfast-postgres-", { owner: serviceUser() }),
      );
      const dataDirectory = join(directory.path, "data");
      const source = `host=${this.host} port=${this.port} user=postgres application_name=replica_%`;
      const port = resources.use(await reservePort()).port;
      const connection = source.replace("%", String(port));
      await runToEnd(
        join(bin, "pg_basebackup"),
        ["-D", dataDirectory, "-d", connection, "--checkpoint=fast", "-X", "stream", "-R", "--no-sync"],
        {
          name: "pg_basebackup",
          env: { PATH: process.env["PATH"], PGPASSWORD: password, HOME: directory.path },
          cwd: directory.path,
          ...asServiceUser(),
        },
      );
      await appendFile(join(dataDirectory, "postgresql.conf"), configLines({ port, ...options.settings }));
      const replica = new Postgres({ bin, port, dataDirectory, password, resources });
      await replica.start();
      const position = await this.sql("SELECT pg_current_wal_flush_lsn()");
      await waitUntil("the replica to catch up", async () => {
        const caughtUp = `SELECT coalesce(pg_last_wal_replay_lsn() >= '${position}', false)`;
        return (await replica.sql(caughtUp)) === "t";
      });
      return replica;
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#parts.resources[Symbol.asyncDispose]();
  }

  async #tryStart(): Promise<boolean> {
    if (this.running) return true;
    const server = await startProcess(join(this.#parts.bin, "postgres"), ["-D", `${this.dataDirectory}/`], {
      name: `postgres on port ${this.port}`,
      env: { PATH: process.env["PATH"], LC_ALL: "C.UTF-8", TZ: "UTC" },
      cwd: this.dataDirectory,
      // Immediate: the data is thrown away, and shared memory is still given back.
      stopSignal: "SIGQUIT",
      ...asServiceUser(),
    });
    try {
      await server.waitForLine(READY, { timeoutMs: 20_000 });
    } catch (error) {
      const retry = STILL_IN_USE.test(server.output);
      await server.stop();
      if (retry && error instanceof ProcessFailedError) return false;
      throw error;
    }
    this.#process = server;
    return true;
  }
}

/**
 * Starts a PostgreSQL server on a free loopback port, in a temporary directory, in some 0.3 s.
 *
 * Defaults are for tests: no fsync (a killed server still loses nothing, a power cut would), 32 MB of shared
 * buffers, 100 connections, prepared transactions allowed, UTC. As root it runs as user `postgres`.
 *
 * @throws ServiceUnavailableError when PostgreSQL, the version or an extension is not installed.
 * @throws ProcessFailedError when it does not start, with its log.
 */
export const startPostgres = async (options: PostgresOptions = {}): Promise<PostgresServer> => {
  requireService("postgres");
  const bin = findPostgresBin(options.version);
  if (bin === undefined) throw new ServiceUnavailableError(`PostgreSQL ${options.version} is not installed`);
  for (const name of options.extensions ?? []) {
    if (findPostgresExtension(name, options.version) !== undefined) continue;
    throw new ServiceUnavailableError(`the PostgreSQL extension ${name} is not installed`);
  }
  return building(async (resources) => {
    const image = await postgresImage(bin);
    const directory = resources.use(await makeTempDirectory("holdfast-postgres-", { owner: serviceUser() }));
    const dataDirectory = join(directory.path, "data");
    await runToEnd("cp", ["-a", image, dataDirectory]);
    const port = resources.use(await reservePort()).port;
    const settings = { ...DEFAULT_SETTINGS, port, ...options.settings };
    await appendFile(join(dataDirectory, "postgresql.conf"), configLines(settings));
    const server = new Postgres({ bin, port, dataDirectory, password: options.password, resources });
    await server.start();
    for (const name of options.extensions ?? []) {
      for (const database of ["template1", "postgres"]) {
        await server.sql(`CREATE EXTENSION IF NOT EXISTS "${name}" CASCADE`, { database });
      }
    }
    if (options.password !== undefined) {
      await server.sql(`ALTER ROLE postgres PASSWORD '${options.password.replaceAll("'", "''")}'`);
      const rules = "host all all all scram-sha-256\nhost replication all all scram-sha-256\n";
      await writeFile(join(dataDirectory, "pg_hba.conf"), rules);
      await server.sql("SELECT pg_reload_conf()");
    }
    return server;
  });
};
