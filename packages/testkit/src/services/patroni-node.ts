import { chown, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { makePatroniPrograms } from "@holdfast/data";
import { findPostgresBin, findProgram } from "../process/find-program.ts";
import { runToEnd, startProcess } from "../process/managed-process.ts";
import { reservePort } from "../process/reserve-port.ts";
import { building, type ResourceStack } from "../process/resource-stack.ts";
import { serviceUser, userIds } from "../process/service-user.ts";
import { mountSmallDisk, type SmallDisk } from "../process/small-disk.ts";
import { killStrays, signalPid } from "../process/strays.ts";
import { makeTempDirectory } from "../process/temp-directory.ts";
import { waitUntil } from "../process/wait-until.ts";
import { ServerProcess } from "./server-process.ts";

export interface PatroniTimings {
  /** Seconds that the leader's key lives. Default 5: failover takes some 5 s. etcd gives no lease below 2. */
  readonly ttl?: number;
  /** Seconds between two rounds. Default 1. */
  readonly loopWait?: number;
  /** Seconds for one round's calls. Default 2; Patroni 3.0 never elects with 1. */
  readonly retryTimeout?: number;
}

export interface PatroniNodeOptions {
  readonly name: string;
  readonly etcdUrls: readonly string[];
  /** The URLs lead to proxies: Patroni must not ask etcd for the addresses of its members and go past them. */
  readonly etcdByProxies?: boolean;
  readonly timings: PatroniTimings;
  readonly synchronous: boolean;
  readonly settings: Readonly<Record<string, string | number | boolean>>;
  /** Mebibytes of a disk of its own for the data, so that it can be filled. */
  readonly diskMiB?: number;
}

const patroniConfig = (
  options: PatroniNodeOptions,
  place: {
    readonly directory: string;
    readonly dataDirectory: string;
    readonly port: number;
    readonly restPort: number;
    readonly bin: string;
  },
): object => ({
  scope: "holdfast",
  namespace: "/holdfast/",
  name: options.name,
  restapi: {
    listen: `127.0.0.1:${place.restPort}`,
    connect_address: `127.0.0.1:${place.restPort}`,
  },
  // etcd 3.4 has its v2 interface off.
  etcd3: {
    hosts: options.etcdUrls.map((url) => new URL(url).host),
    ...(options.etcdByProxies === true ? { use_proxies: true } : {}),
  },
  bootstrap: {
    dcs: {
      ttl: options.timings.ttl ?? 5,
      loop_wait: options.timings.loopWait ?? 1,
      retry_timeout: options.timings.retryTimeout ?? 2,
      maximum_lag_on_failover: 1_048_576,
      // A dead postmaster means failover at once; Patroni's default is to try a restart for 300 s.
      primary_start_timeout: 0,
      synchronous_mode: options.synchronous,
      postgresql: {
        use_pg_rewind: true,
        use_slots: true,
        parameters: {
          wal_level: "replica",
          hot_standby: "on",
          max_connections: 100,
          max_wal_senders: 8,
          max_replication_slots: 8,
          max_prepared_transactions: 20,
          shared_buffers: "32MB",
          wal_keep_size: "64MB",
          wal_log_hints: "on",
          jit: "off",
          wal_receiver_status_interval: "1s",
          wal_retrieve_retry_interval: "500ms",
          hot_standby_feedback: "on",
          ...options.settings,
        },
      },
    },
    initdb: [
      { encoding: "UTF8" },
      { locale: "C" },
      "data-checksums",
      { "auth-local": "trust" },
      { "auth-host": "trust" },
    ],
  },
  postgresql: {
    listen: `127.0.0.1:${place.port}`,
    connect_address: `127.0.0.1:${place.port}`,
    bin_dir: place.bin,
    data_dir: place.dataDirectory,
    pgpass: `${place.directory}/pgpass`,
    use_unix_socket: false,
    remove_data_directory_on_rewind_failure: true,
    remove_data_directory_on_diverged_timelines: true,
    basebackup: [{ checkpoint: "fast" }],
    pg_hba: [
      "local all all trust",
      "host all all 127.0.0.1/32 trust",
      "host replication all 127.0.0.1/32 trust",
    ],
    parameters: { unix_socket_directories: place.directory },
    authentication: {
      superuser: { username: "postgres", password: "postgres" },
      replication: { username: "replicator", password: "replicator" },
      rewind: { username: "rewinder", password: "rewinder" },
    },
  },
  watchdog: { mode: "off" },
});

/** One member: a Patroni and the PostgreSQL that it looks after. */
export class PatroniNode implements AsyncDisposable {
  readonly name: string;
  readonly host = "127.0.0.1";
  /** PostgreSQL's. A test about "one writer" goes through the proxy instead. */
  readonly port: number;
  readonly restPort: number;
  readonly #dataDirectory: string;
  readonly #disk: SmallDisk | undefined;
  readonly #patroni: ServerProcess;
  readonly #psql: string;

  constructor(parts: {
    readonly name: string;
    readonly port: number;
    readonly restPort: number;
    readonly directory: string;
    readonly dataDirectory: string;
    readonly disk: SmallDisk | undefined;
    readonly bin: string;
    readonly resources: ResourceStack;
  }) {
    this.name = parts.name;
    this.port = parts.port;
    this.restPort = parts.restPort;
    this.#dataDirectory = parts.dataDirectory;
    this.#disk = parts.disk;
    this.#psql = join(parts.bin, "psql");
    // PostgreSQL outlives Patroni, and one that is just starting has no pid file yet.
    parts.resources.defer(() => killStrays(parts.directory));
    this.#patroni = new ServerProcess({
      name: `patroni ${parts.name}`,
      launch: () =>
        startProcess(findProgram("patroni") ?? "patroni", [`${parts.directory}/patroni.json`], {
          name: `patroni ${parts.name}`,
          cwd: parts.directory,
          // Patroni belongs to the system's Python, whatever stands first on the caller's PATH.
          env: { PATH: "/usr/sbin:/usr/bin:/sbin:/bin", HOME: parts.directory, LC_ALL: "C.UTF-8", TZ: "UTC" },
          stopTimeoutMs: 0,
          ...userIds(),
        }),
      ready: async () => undefined,
      resources: parts.resources,
    });
  }

  get url(): string {
    return `postgres://postgres@${this.host}:${this.port}/postgres`;
  }

  /** Of the Patroni process. */
  get pid(): number {
    return this.#patroni.pid;
  }

  /** Whether Patroni runs. */
  get running(): boolean {
    return this.#patroni.running;
  }

  /** Patroni's and PostgreSQL's log. */
  get log(): string {
    return this.#patroni.log;
  }

  /** The postmaster's pid, or undefined when PostgreSQL is down. */
  async postgresPid(): Promise<number | undefined> {
    try {
      const pid = Number(
        (await readFile(join(this.#dataDirectory, "postmaster.pid"), "utf8")).split("\n")[0],
      );
      return signalPid(pid, 0) ? pid : undefined;
    } catch {
      return undefined;
    }
  }

  /** True while this node holds the leader's key and its PostgreSQL runs as the primary. */
  async isLeader(): Promise<boolean> {
    return (await this.#status("/primary")) === 200;
  }

  /** True while PostgreSQL streams from the leader. */
  async isReplica(): Promise<boolean> {
    return (await this.#status("/replica")) === 200;
  }

  /** Runs SQL through psql and gives its unaligned output. */
  sql(text: string): Promise<string> {
    const where = ["-h", this.host, "-p", String(this.port), "-U", "postgres", "-d", "postgres"];
    return runToEnd(this.#psql, ["-XAtq", "-v", "ON_ERROR_STOP=1", ...where], {
      name: "psql",
      env: { PATH: process.env["PATH"], PGCONNECT_TIMEOUT: "2" },
      input: text,
    });
  }

  /** The machine is gone: Patroni and PostgreSQL are killed together. */
  async kill(): Promise<void> {
    const pid = await this.postgresPid();
    await Promise.all([this.killPatroni(), pid === undefined ? undefined : this.killPostgres()]);
  }

  /** Kills Patroni alone; its PostgreSQL stays up, a primary stays writable until the key ends. */
  killPatroni(signal: "SIGKILL" | "SIGTERM" = "SIGKILL"): Promise<void> {
    return this.#patroni.kill(signal);
  }

  /** Kills the postmaster alone and waits until it is gone (its parent may take a second to notice). */
  async killPostgres(): Promise<void> {
    const pid = await this.postgresPid();
    if (pid === undefined) return;
    signalPid(pid, "SIGKILL");
    await waitUntil(`PostgreSQL of ${this.name} to end`, () => !signalPid(pid, 0));
  }

  /** Has the disk of the data full to the last byte, once more what became free meanwhile; only with `diskMiB`. */
  async fillDisk(): Promise<void> {
    await this.#disk?.fill();
  }

  /** Gives back what {@link fillDisk} took. */
  async freeDisk(): Promise<void> {
    await this.#disk?.free();
  }

  /** Freezes Patroni: the old primary stays writable beside the new one, which only the proxy hides. */
  pausePatroni(): void {
    this.#patroni.pause();
  }

  resumePatroni(): void {
    this.#patroni.resume();
  }

  /** Starts Patroni, which starts PostgreSQL and, after a failover, rewinds it and follows the new leader. */
  start(): Promise<void> {
    return this.#patroni.start();
  }

  /** Asks Patroni's REST interface. */
  async ask(
    path: string,
    init: { readonly method?: string; readonly body?: unknown } = {},
  ): Promise<Response> {
    return fetch(`http://${this.host}:${this.restPort}${path}`, {
      method: init.method ?? "GET",
      ...(init.body === undefined ? {} : { body: JSON.stringify(init.body) }),
      signal: AbortSignal.timeout(15_000),
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#patroni[Symbol.asyncDispose]();
  }

  async #status(path: string): Promise<number | undefined> {
    if (!this.running) return undefined;
    try {
      const answer = await fetch(`http://${this.host}:${this.restPort}${path}`, {
        method: "OPTIONS",
        signal: AbortSignal.timeout(1_000),
      });
      return answer.status;
    } catch {
      return undefined;
    }
  }
}

/** Reserves ports and a directory, writes the configuration and starts Patroni; does not wait for PostgreSQL. */
export const startPatroniNode = (options: PatroniNodeOptions): Promise<PatroniNode> =>
  building(async (resources) => {
    const bin = findPostgresBin() ?? "";
    const user = serviceUser();
    const { path: directory } = resources.use(await makeTempDirectory("holdfast-patroni-", { owner: user }));
    const port = resources.use(await reservePort()).port;
    const restPort = resources.use(await reservePort()).port;
    const disk =
      options.diskMiB === undefined
        ? undefined
        : resources.use(await mountSmallDisk(`${directory}/disk`, { sizeMiB: options.diskMiB, owner: user }));
    const dataDirectory = `${disk?.path ?? directory}/data`;
    const config = `${directory}/patroni.json`;
    const programs = await makePatroniPrograms({ postgresBin: bin, directory: `${directory}/bin` });
    // YAML reads JSON.
    await writeFile(
      config,
      JSON.stringify(
        patroniConfig(options, { directory, dataDirectory, port, restPort, bin: programs }),
        null,
        2,
      ),
    );
    if (user.uid !== undefined && user.gid !== undefined) await chown(config, user.uid, user.gid);
    const node = new PatroniNode({
      name: options.name,
      port,
      restPort,
      directory,
      dataDirectory,
      disk,
      bin,
      resources,
    });
    await node.start();
    return node;
  });
