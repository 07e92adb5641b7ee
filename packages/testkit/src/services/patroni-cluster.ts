import { ProcessFailedError } from "../errors.ts";
import { building } from "../process/resource-stack.ts";
import { waitUntil } from "../process/wait-until.ts";
import { requireService } from "./availability.ts";
import { type EtcdCluster, startEtcd } from "./etcd.ts";
import { type Haproxy, startHaproxy } from "./haproxy.ts";
import { type PatroniNode, type PatroniTimings, startPatroniNode } from "./patroni-node.ts";

export interface PatroniClusterOptions extends PatroniTimings {
  /** Default 3. */
  readonly nodeCount?: number;
  /** etcd members. Default 1; 3 survive the loss of one. */
  readonly etcdCount?: number;
  /** Acknowledge a commit only when a standby has it too: a failover loses nothing then. Default false. */
  readonly synchronous?: boolean;
  /** Proxies of etcd for one node each, from 0, to cut a node off from etcd alone. Default: no proxies. */
  readonly etcdProxies?: (nodeIndex: number, etcdUrls: readonly string[]) => Promise<readonly string[]>;
  /** PostgreSQL settings of every node. */
  readonly settings?: Readonly<Record<string, string | number | boolean>>;
  /**
   * Mebibytes of a disk of its own for each node's data, which `fillDisk` fills. Default: none of their own.
   * @throws ServiceUnavailableError where `small-disk` is not available.
   */
  readonly diskMiB?: number;
}

/** A PostgreSQL cluster that fails over by itself, with the proxy in front that production has. */
export interface PatroniCluster extends AsyncDisposable {
  readonly nodes: readonly PatroniNode[];
  readonly etcd: EtcdCluster;
  readonly haproxy: Haproxy;
  /** Through HAProxy to the primary, whichever that is. */
  readonly writeUrl: string;
  /** Through HAProxy to the replicas in turn. */
  readonly readUrl: string;
  /** The leader now; undefined while there is none. */
  leader(): Promise<PatroniNode | undefined>;
  /** Waits for a leader. @param options.not A node that it must not be. @param options.timeoutMs Default 60_000. */
  waitForLeader(options?: { readonly not?: PatroniNode; readonly timeoutMs?: number }): Promise<PatroniNode>;
  /** Waits until there is a leader, every other running node streams from it, and HAProxy leads to it. */
  waitUntilHealthy(options?: { readonly timeoutMs?: number }): Promise<void>;
  /** Hands leadership over in an orderly way (some 2 s) and returns the new leader. */
  switchover(to?: PatroniNode): Promise<PatroniNode>;
  /** Changes the dynamic configuration, for example `{ synchronous_mode: true }`; members apply it in their next round. */
  configure(patch: Readonly<Record<string, unknown>>): Promise<void>;
}

/** Names a node may have in `pg_stat_replication`; a base backup's own sender shows there too, under another name. */
const streamingCount = async (leader: PatroniNode, nodes: readonly PatroniNode[]): Promise<number> => {
  const names = nodes.map((node) => `'${node.name}'`).join(", ");
  const query = `SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming' AND application_name IN (${names})`;
  return Number(await leader.sql(query));
};

/**
 * Starts PostgreSQL under Patroni (leader key 5 s, a round each second), etcd and HAProxy on free loopback
 * ports. It is healthy when this returns, after some 5 to 9 s; a killed leader is replaced in about 5 s.
 *
 * Replication is asynchronous unless `synchronous`: then a failover may lose the last acknowledged rows.
 * During a failover clients see both broken connections and "read-only transaction" errors; both pass.
 *
 * @throws ServiceUnavailableError when one of the programs is not installed.
 * @throws ConditionTimeoutError when it is not healthy within 60 s.
 */
export const startPatroniCluster = async (options: PatroniClusterOptions = {}): Promise<PatroniCluster> => {
  requireService("patroni");
  if (options.diskMiB !== undefined) requireService("small-disk");
  return building(async (resources) => {
    const etcd = resources.use(await startEtcd({ memberCount: options.etcdCount ?? 1 }));
    const { ttl, loopWait, retryTimeout } = options;
    const timings: PatroniTimings = {
      ...(ttl === undefined ? {} : { ttl }),
      ...(loopWait === undefined ? {} : { loopWait }),
      ...(retryTimeout === undefined ? {} : { retryTimeout }),
    };
    const etcdUrls = etcd.members.map((member) => member.url);
    const nodes = await Promise.all(
      Array.from({ length: options.nodeCount ?? 3 }, async (_, index) =>
        resources.use(
          await startPatroniNode({
            name: `n${index + 1}`,
            etcdUrls: (await options.etcdProxies?.(index, etcdUrls)) ?? etcdUrls,
            etcdByProxies: options.etcdProxies !== undefined,
            timings,
            synchronous: options.synchronous ?? false,
            settings: options.settings ?? {},
            ...(options.diskMiB === undefined ? {} : { diskMiB: options.diskMiB }),
          }),
        ),
      ),
    );
    const haproxy = resources.use(await startHaproxy(nodes));

    const leader = async (): Promise<PatroniNode | undefined> => {
      for (const node of nodes) if (await node.isLeader()) return node;
      return undefined;
    };
    const cluster: PatroniCluster = {
      nodes,
      etcd,
      haproxy,
      writeUrl: `postgres://postgres@${haproxy.host}:${haproxy.writePort}/postgres`,
      readUrl: `postgres://postgres@${haproxy.host}:${haproxy.readPort}/postgres`,
      leader,
      waitForLeader: (wait = {}) =>
        waitUntil(
          wait.not ? `a leader other than ${wait.not.name}` : "a leader",
          async () => {
            const found = await leader();
            return found === wait.not ? undefined : found;
          },
          { timeoutMs: wait.timeoutMs ?? 60_000 },
        ),
      async waitUntilHealthy(wait = {}) {
        await waitUntil(
          "the cluster to be healthy",
          async () => {
            const found = await leader();
            if (!found) return false;
            const replicas = nodes.filter((node) => node !== found && node.running);
            if ((await streamingCount(found, replicas)) < replicas.length) return false;
            for (const replica of replicas) if (!(await replica.isReplica())) return false;
            return (
              (await haproxy.activeCount("write")) === 1 &&
              (await haproxy.activeCount("read")) === replicas.length
            );
          },
          { timeoutMs: wait.timeoutMs ?? 60_000, intervalMs: 100 },
        );
      },
      async switchover(to) {
        const from = await cluster.waitForLeader();
        const body = { leader: from.name, ...(to === undefined ? {} : { candidate: to.name }) };
        const answer = await from.ask("/switchover", { method: "POST", body });
        if (!answer.ok)
          throw new ProcessFailedError(`the switchover was refused: ${await answer.text()}`, from.log);
        return cluster.waitForLeader({ not: from });
      },
      async configure(patch) {
        const answer = await (await cluster.waitForLeader()).ask("/config", { method: "PATCH", body: patch });
        if (!answer.ok) throw new ProcessFailedError(`the change was refused: ${await answer.text()}`, "");
      },
      [Symbol.asyncDispose]: () => resources[Symbol.asyncDispose](),
    };
    await cluster.waitUntilHealthy();
    return cluster;
  });
};
