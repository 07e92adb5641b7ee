import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { findRedisProgram } from "../process/find-program.ts";
import { startProcess } from "../process/managed-process.ts";
import { reservePort } from "../process/reserve-port.ts";
import { building, type ResourceStack } from "../process/resource-stack.ts";
import { makeTempDirectory } from "../process/temp-directory.ts";
import { requireService } from "./availability.ts";
import { type RedisReply, redisCommand } from "./redis-command.ts";
import { type RunningServer, ServerProcess } from "./server-process.ts";

export type RedisSettings = Readonly<Record<string, string | number>>;

export interface RedisOptions {
  /** Lines of redis.conf, for example `{ appendonly: "yes" }`. They win over the defaults of `startRedis`. */
  readonly settings?: RedisSettings;
  /** Demanded from every client. Default: none. */
  readonly password?: string;
}

/** A Redis server of one's own. Without `appendonly` it forgets everything when it ends. */
export interface RedisServer extends RunningServer {
  /** `redis://127.0.0.1:PORT`, with the password when one was asked for. */
  readonly url: string;
  readonly host: string;
  readonly port: number;
  /** Sends one command over a connection of its own: for fixtures, not for what is tested. */
  command(...args: readonly (string | number)[]): Promise<RedisReply>;
}

const DEFAULT_SETTINGS: RedisSettings = {
  bind: "127.0.0.1",
  save: "",
  appendonly: "no",
  // The default of 5 s would leave a new replica empty for so long that a failover promotes an empty one.
  "repl-diskless-sync-delay": 0,
};

class Redis extends ServerProcess implements RedisServer {
  readonly host = "127.0.0.1";
  readonly port: number;
  readonly #password: string | undefined;

  constructor(parts: {
    readonly program: string;
    readonly port: number;
    readonly args: readonly string[];
    readonly password: string | undefined;
    readonly directory: string;
    readonly resources: ResourceStack;
  }) {
    const name = `redis-server on port ${parts.port}`;
    super({
      name,
      launch: () => startProcess(parts.program, parts.args, { name, cwd: parts.directory }),
      ready: (server) => server.waitForLine(/Ready to accept connections/),
      resources: parts.resources,
    });
    this.port = parts.port;
    this.#password = parts.password;
  }

  get url(): string {
    const secret = this.#password === undefined ? "" : `:${encodeURIComponent(this.#password)}@`;
    return `redis://${secret}${this.host}:${this.port}`;
  }

  command(...args: readonly (string | number)[]): Promise<RedisReply> {
    return redisCommand(this.port, args, this.#password === undefined ? {} : { password: this.#password });
  }
}

/**
 * Starts a Redis server on a free loopback port, in a temporary directory, in some 50 ms.
 * @throws ServiceUnavailableError when Redis is not installed.
 * @throws ProcessFailedError when it does not start, with its log.
 */
export const startRedis = async (options: RedisOptions = {}): Promise<RedisServer> => {
  requireService("redis");
  const program = findRedisProgram() ?? "redis-server";
  return building(async (resources) => {
    const directory = resources.use(await makeTempDirectory("holdfast-redis-"));
    const port = resources.use(await reservePort()).port;
    // A password may have blanks and quotes.
    const quoted = JSON.stringify(options.password);
    const secret: RedisSettings =
      options.password === undefined ? {} : { requirepass: quoted, masterauth: quoted };
    const settings = { ...DEFAULT_SETTINGS, port, dir: `${directory.path}/`, ...secret, ...options.settings };
    // In a file, so that a server that was promoted or demoted is that again after a restart: Sentinels have it rewritten.
    const config = join(directory.path, "redis.conf");
    const lines = Object.entries(settings).map(([name, value]) => `${name} ${value === "" ? '""' : value}`);
    await writeFile(config, `${lines.join("\n")}\n`);
    const server = new Redis({
      program,
      port,
      args: [config],
      password: options.password,
      directory: directory.path,
      resources,
    });
    await server.start();
    return server;
  });
};
