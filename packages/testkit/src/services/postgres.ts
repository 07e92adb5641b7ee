import { appendFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { ServiceUnavailableError } from "../errors.ts";
import { findPostgresBin } from "../process/find-program.ts";
import { runToEnd, startProcess } from "../process/managed-process.ts";
import { reservePort } from "../process/reserve-port.ts";
import { building, type ResourceStack } from "../process/resource-stack.ts";
import { serviceUser, userIds } from "../process/service-user.ts";
import { makeTempDirectory } from "../process/temp-directory.ts";
import { waitUntil } from "../process/wait-until.ts";
import { findPostgresExtension, requireService } from "./availability.ts";
import { postgresImage } from "./postgres-image.ts";
import { type RunningServer, ServerProcess } from "./server-process.ts";

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
export interface PostgresServer extends RunningServer {
  /** `postgres://postgres@127.0.0.1:PORT/postgres`, with the password when one was asked for. */
  readonly url: string;
  readonly host: string;
  readonly port: number;
  readonly dataDirectory: string;
  /** The same address with another database. */
  urlOf(database: string): string;
  /** Creates a database (from a template in some 50 ms) and gives its address. */
  createDatabase(name: string, options?: { readonly template?: string }): Promise<string>;
  /** Runs SQL through psql and gives its unaligned output: for fixtures, not for what is tested. */
  sql(text: string, options?: { readonly database?: string }): Promise<string>;
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

interface PostgresParts {
  readonly bin: string;
  readonly port: number;
  readonly dataDirectory: string;
  readonly password: string | undefined;
  readonly resources: ResourceStack;
}

class Postgres extends ServerProcess implements PostgresServer {
  readonly host = "127.0.0.1";
  readonly port: number;
  readonly dataDirectory: string;
  readonly #parts: PostgresParts;

  constructor(parts: PostgresParts) {
    super({
      name: `postgres on port ${parts.port}`,
      // The slash lets the watchdog tell this directory from one whose name begins with it.
      launch: () =>
        startProcess(join(parts.bin, "postgres"), ["-D", `${parts.dataDirectory}/`], {
          name: `postgres on port ${parts.port}`,
          env: { PATH: process.env["PATH"], LC_ALL: "C.UTF-8", TZ: "UTC" },
          cwd: parts.dataDirectory,
          // Immediate: the data is thrown away, and shared memory is still given back.
          stopSignal: "SIGQUIT",
          ...userIds(),
        }),
      ready: (server) => server.waitForLine(READY, { timeoutMs: 60_000 }),
      orderlySignal: "SIGINT",
      transient: STILL_IN_USE,
      resources: parts.resources,
    });
    this.#parts = parts;
    this.port = parts.port;
    this.dataDirectory = parts.dataDirectory;
  }

  get url(): string {
    return this.urlOf("postgres");
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
          ...userIds(),
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
