import { reservePort } from "../process/reserve-port.ts";
import { building } from "../process/resource-stack.ts";
import { waitUntil } from "../process/wait-until.ts";
import { type RedisServer, type RedisSettings, startRedis } from "./redis.ts";

export interface RedisClusterOptions {
  /** Default 3, at least 3. */
  readonly masterCount?: number;
  /** Replicas of each master. Default 0; 1 is needed for failover. */
  readonly replicasPerMaster?: number;
  /** How long a node may be silent before it counts as failed, in milliseconds. Default 700: failover takes some 2 s. */
  readonly nodeTimeoutMs?: number;
  readonly settings?: RedisSettings;
}

/** Node `i` is a replica of node `i % masterCount` to begin with; a failover changes that. */
export interface RedisCluster extends AsyncDisposable {
  readonly nodes: readonly RedisServer[];
  /** `redis://127.0.0.1:PORT` of every node. */
  readonly urls: readonly string[];
  /** Waits until every running node says `cluster_state:ok`, all slots covered. */
  waitUntilOk(options?: { readonly timeoutMs?: number }): Promise<void>;
}

const SLOT_COUNT = 16_384;

/**
 * Starts a Redis Cluster on free loopback ports. It takes some 2.1 s (a new node refuses writes for 2 s), and
 * 3.5 s with replicas, which are in sync when this returns.
 *
 * @throws ServiceUnavailableError when Redis is not installed.
 */
export const startRedisCluster = (options: RedisClusterOptions = {}): Promise<RedisCluster> =>
  building(async (resources) => {
    const masterCount = options.masterCount ?? 3;
    const nodeCount = masterCount * (1 + (options.replicasPerMaster ?? 0));
    const nodes = await Promise.all(
      Array.from({ length: nodeCount }, async () => {
        const bus = resources.use(await reservePort());
        const node = await startRedis({
          settings: {
            "cluster-enabled": "yes",
            "cluster-config-file": "nodes.conf",
            "cluster-port": bus.port,
            "cluster-node-timeout": options.nodeTimeoutMs ?? 700,
            ...options.settings,
          },
        });
        return resources.use(node);
      }),
    );
    const running = (): readonly RedisServer[] => nodes.filter((node) => node.running);
    const waitUntilOk = async (wait: { readonly timeoutMs?: number } = {}): Promise<void> => {
      await waitUntil(
        "cluster_state:ok on every node",
        async () => {
          const infos = await Promise.all(running().map((node) => node.command("CLUSTER", "INFO")));
          return infos.every(
            (info) =>
              String(info).includes("cluster_state:ok") && String(info).includes(`slots_ok:${SLOT_COUNT}`),
          );
        },
        { timeoutMs: wait.timeoutMs ?? 60_000 },
      );
    };

    const masters = nodes.slice(0, masterCount);
    const first = masters[0];
    if (!first) throw new RangeError(`masterCount must be at least 3; got ${masterCount}`);
    for (const [index, master] of masters.entries()) {
      const from = Math.floor((index * SLOT_COUNT) / masterCount);
      const to = Math.floor(((index + 1) * SLOT_COUNT) / masterCount) - 1;
      await master.command("CLUSTER", "SET-CONFIG-EPOCH", index + 1);
      await master.command("CLUSTER", "ADDSLOTSRANGE", from, to);
    }
    for (const node of nodes.slice(1)) {
      const bus = String(((await node.command("CONFIG", "GET", "cluster-port")) as readonly string[])[1]);
      await first.command("CLUSTER", "MEET", node.host, node.port, bus);
    }
    for (const [index, node] of nodes.entries()) {
      const master = masters[index % masterCount];
      if (index < masterCount || !master) continue;
      const id = String(await master.command("CLUSTER", "MYID"));
      await waitUntil(`${node.url} to know its master`, async () => {
        await node.command("CLUSTER", "REPLICATE", id);
        return true;
      });
    }
    await waitUntilOk();
    for (const replica of nodes.slice(masterCount)) {
      await waitUntil(`${replica.url} to be in sync`, async () =>
        String(await replica.command("INFO", "replication")).includes("master_link_status:up"),
      );
    }
    return {
      nodes,
      urls: nodes.map((node) => node.url),
      waitUntilOk,
      [Symbol.asyncDispose]: () => resources[Symbol.asyncDispose](),
    };
  });
