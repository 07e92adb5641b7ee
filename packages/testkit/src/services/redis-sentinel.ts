import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { findRedisProgram } from "../process/find-program.ts";
import { startProcess } from "../process/managed-process.ts";
import { reservePort } from "../process/reserve-port.ts";
import { building, type ResourceStack } from "../process/resource-stack.ts";
import { makeTempDirectory } from "../process/temp-directory.ts";
import { waitUntil } from "../process/wait-until.ts";
import { type RedisServer, type RedisSettings, startRedis } from "./redis.ts";
import { redisCommand } from "./redis-command.ts";
import { type RunningServer, ServerProcess } from "./server-process.ts";

export interface RedisSentinelOptions {
  /** Default 2. */
  readonly replicaCount?: number;
  /** Default 3; a majority of them decides. */
  readonly sentinelCount?: number;
  /** Silence after which the master counts as down, in milliseconds. Default 1_000: failover takes some 2.2 s. */
  readonly downAfterMs?: number;
  readonly settings?: RedisSettings;
}

export interface RedisSentinels extends AsyncDisposable {
  /** What clients ask the sentinels for. */
  readonly masterName: string;
  /** The master at first, then its replicas. */
  readonly servers: readonly RedisServer[];
  readonly sentinels: readonly (RunningServer & { readonly host: string; readonly port: number })[];
  /** The server that the sentinels call master now, by the first sentinel that runs. */
  master(): Promise<RedisServer>;
}

const MASTER_NAME = "holdfast";

class Sentinel extends ServerProcess {
  readonly host = "127.0.0.1";
  readonly port: number;

  constructor(port: number, config: string, resources: ResourceStack) {
    const name = `sentinel on port ${port}`;
    super({
      name,
      launch: () => startProcess(findRedisProgram() ?? "redis-server", [config, "--sentinel"], { name }),
      ready: (sentinel) => sentinel.waitForLine(/\+monitor master/),
      resources,
    });
    this.port = port;
  }
}

const startSentinel = (
  master: RedisServer,
  options: { readonly quorum: number; readonly downAfterMs: number },
): Promise<Sentinel> =>
  building(async (resources) => {
    const directory = resources.use(await makeTempDirectory("holdfast-sentinel-"));
    const port = resources.use(await reservePort()).port;
    const config = join(directory.path, "sentinel.conf");
    const lines = [
      `port ${port}`,
      "bind 127.0.0.1",
      `dir ${directory.path}/`,
      `sentinel monitor ${MASTER_NAME} ${master.host} ${master.port} ${options.quorum}`,
      `sentinel down-after-milliseconds ${MASTER_NAME} ${options.downAfterMs}`,
      `sentinel failover-timeout ${MASTER_NAME} 5000`,
      `sentinel parallel-syncs ${MASTER_NAME} 2`,
    ];
    await writeFile(config, `${lines.join("\n")}\n`);
    const sentinel = new Sentinel(port, config, resources);
    await sentinel.start();
    return sentinel;
  });

/**
 * Starts one Redis master with replicas and sentinels that agree on it, on free loopback ports, in some 2.5 s.
 * @throws ServiceUnavailableError when Redis is not installed.
 */
export const startRedisSentinel = (options: RedisSentinelOptions = {}): Promise<RedisSentinels> =>
  building(async (resources) => {
    const sentinelCount = options.sentinelCount ?? 3;
    const first = resources.use(await startRedis({ settings: { ...options.settings } }));
    const replicas = await Promise.all(
      Array.from({ length: options.replicaCount ?? 2 }, async () =>
        resources.use(
          await startRedis({ settings: { replicaof: `${first.host} ${first.port}`, ...options.settings } }),
        ),
      ),
    );
    const servers = [first, ...replicas];
    for (const replica of replicas) {
      await waitUntil(`${replica.url} to be in sync`, async () =>
        String(await replica.command("INFO", "replication")).includes("master_link_status:up"),
      );
    }
    const sentinels = await Promise.all(
      Array.from({ length: sentinelCount }, async () =>
        resources.use(
          await startSentinel(first, {
            quorum: Math.floor(sentinelCount / 2) + 1,
            downAfterMs: options.downAfterMs ?? 1_000,
          }),
        ),
      ),
    );
    for (const sentinel of sentinels) {
      await waitUntil(`the sentinel on port ${sentinel.port} to know the others`, async () => {
        const reply = await redisCommand(sentinel.port, ["SENTINEL", "CKQUORUM", MASTER_NAME]);
        return String(reply).startsWith(`OK ${sentinelCount} usable`);
      });
    }
    return {
      masterName: MASTER_NAME,
      servers,
      sentinels,
      async master() {
        const sentinel = sentinels.find((each) => each.running);
        const command = ["SENTINEL", "GET-MASTER-ADDR-BY-NAME", MASTER_NAME];
        const reply = sentinel ? await redisCommand(sentinel.port, command) : null;
        const port = Array.isArray(reply) ? Number(reply[1]) : undefined;
        const server = servers.find((each) => each.port === port);
        if (!server) throw new RangeError(`no running sentinel knows a master of ours (answer: ${reply})`);
        return server;
      },
      [Symbol.asyncDispose]: () => resources[Symbol.asyncDispose](),
    };
  });
