import { readdirSync, readFileSync } from "node:fs";
import {
  createFaultProxy,
  type FaultProxy,
  type PatroniCluster,
  type PatroniClusterOptions,
  type PatroniNode,
  startPatroniCluster,
  waitUntil,
} from "@holdfast/testkit";
import pg from "pg";
import { type ClusterDatabase, type ClusterOptions, openCluster } from "../../src/index.ts";

/** Ways in which a leader goes; each ends with another leader. `full disk` needs nodes with a disk of their own. */
export const FAULTS = [
  "kill -9 of PostgreSQL and Patroni",
  "kill -9 of PostgreSQL",
  "kill -9 of Patroni",
  "SIGSTOP of Patroni",
  "SIGSTOP of everything",
  "cut from etcd",
  "full disk",
] as const;

export type Fault = (typeof FAULTS)[number];

const isProcess = (name: string): boolean => /^\d+$/.test(name);

/** The process and its children, as Linux knows them. */
const familyOf = (pid: number): readonly number[] => [
  pid,
  ...readdirSync("/proc")
    .filter(isProcess)
    .filter((name) => {
      try {
        const stat = readFileSync(`/proc/${name}/stat`, "utf8");
        return Number(stat.slice(stat.lastIndexOf(")") + 2).split(" ")[1]) === pid;
      } catch {
        return false;
      }
    })
    .map(Number),
];

const commandOf = (pid: number): string => {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, "utf8");
  } catch {
    return "";
  }
};

const signalAll = (pids: readonly number[], signal: NodeJS.Signals): void => {
  for (const pid of pids) {
    try {
      process.kill(pid, signal);
    } catch {
      // It has ended meanwhile.
    }
  }
};

/** The whole server at once: a child that outlives its parent would hold the shared memory, and it could not start again. */
const killFamily = async (node: PatroniNode): Promise<void> => {
  const postmaster = await node.postgresPid();
  if (postmaster === undefined) return;
  const [, ...children] = familyOf(postmaster);
  signalAll([postmaster, ...children], "SIGKILL");
  await node.killPostgres();
};

/**
 * Ends a frozen Patroni before the rest wakes up, as a watchdog does, and starts it again. One that is merely woken may
 * be just before renewing its key, and Patroni 3.0 with etcd 3 then writes it over the new leader's: seen here. The
 * older server refuses nothing by itself in that case; our clients do, and nobody writes until a person has decided.
 */
const restartFrozen = async (node: PatroniNode, frozen: readonly number[]): Promise<void> => {
  await node.killPatroni();
  signalAll(frozen, "SIGCONT");
  await node.start();
};

/**
 * The log is written in files of 16 MiB made in advance, so that a full disk ends a server only when the next one cannot
 * be made. Until then it refuses what needs room, and leads on, for ever where it finds old ones to use again: so it is
 * made to write, and what it frees is taken. Over a connection of before, since a new one may need room itself.
 */
const writeUntilItEnds = async (node: PatroniNode): Promise<void> => {
  const writer = new pg.Client({ connectionString: node.url, query_timeout: 5_000 });
  // It ends with its server.
  writer.on("error", () => undefined);
  await writer.connect();
  try {
    await waitUntil(
      `the full disk to end ${node.name}`,
      async () => {
        await node.fillDisk();
        await writer
          .query(
            "SELECT pg_logical_emit_message(false, 'ballast', repeat('x', 4000000)) FROM generate_series(1, 8)",
          )
          .catch(() => undefined);
        return !(await node.isLeader());
      },
      { timeoutMs: 60_000, intervalMs: 20 },
    );
  } finally {
    await writer.end();
  }
};

/** A Patroni cluster with synchronous replication whose every link can be cut: clients to node, node to etcd. */
export class FaultyCluster implements AsyncDisposable {
  readonly servers: PatroniCluster;
  readonly #etcdLinks: readonly FaultProxy[];
  readonly #clientLinks: readonly FaultProxy[];
  readonly #restLinks: readonly FaultProxy[];

  private constructor(
    servers: PatroniCluster,
    etcdLinks: readonly FaultProxy[],
    clientLinks: readonly FaultProxy[],
    restLinks: readonly FaultProxy[],
  ) {
    this.servers = servers;
    this.#etcdLinks = etcdLinks;
    this.#clientLinks = clientLinks;
    this.#restLinks = restLinks;
  }

  static async start(options: PatroniClusterOptions = {}): Promise<FaultyCluster> {
    const etcdLinks: FaultProxy[] = [];
    const servers = await startPatroniCluster({
      synchronous: true,
      ...options,
      etcdProxies: async (index, [url = ""]) => {
        const link = await createFaultProxy({ target: { port: Number(new URL(url).port) } });
        etcdLinks[index] = link;
        return [`http://${link.host}:${link.port}`];
      },
    });
    const linkTo = (port: number): Promise<FaultProxy> => createFaultProxy({ target: { port } });
    const clientLinks = await Promise.all(servers.nodes.map(({ port }) => linkTo(port)));
    const restLinks = await Promise.all(servers.nodes.map(({ restPort }) => linkTo(restPort)));
    return new FaultyCluster(servers, etcdLinks, clientLinks, restLinks);
  }

  /** What `openCluster` needs to reach it by Patroni's REST interface, through the links. */
  get options(): ClusterOptions {
    return {
      url: "postgres://postgres@127.0.0.1/postgres",
      discovery: { kind: "patroni", urls: this.#restLinks.map(({ host, port }) => `http://${host}:${port}`) },
      mapAddress: ({ host, port }) => {
        const index = this.servers.nodes.findIndex((node) => node.port === port);
        return { host, port: this.#clientLinks[index]?.port ?? port };
      },
    };
  }

  open(options: Partial<ClusterOptions> = {}): Promise<ClusterDatabase> {
    return openCluster({ ...this.options, ...options });
  }

  /** Waits until every node is back and a replica confirms commits: only then may the next leader go. */
  async untilReady(timeoutMs = 60_000): Promise<PatroniNode> {
    try {
      await this.servers.waitUntilHealthy({ timeoutMs });
    } catch {
      await this.#rebuildLost();
      await this.servers.waitUntilHealthy({ timeoutMs });
    }
    const isConfirmed = async (): Promise<boolean> => {
      const leader = await this.servers.leader();
      if (leader === undefined) return false;
      const answer = await leader.ask("/cluster");
      const { members } = (await answer.json()) as { members: { role: string }[] };
      return members.some(({ role }) => role === "sync_standby");
    };
    await waitUntil("a replica to confirm commits", isConfirmed, { timeoutMs, intervalMs: 100 });
    return this.servers.waitForLeader();
  }

  /** How many nodes did not come back by themselves. */
  rebuiltCount = 0;

  /** What a person does with a node that cannot follow any more: has it copied anew from the leader. */
  async #rebuildLost(): Promise<void> {
    const leader = await this.servers.waitForLeader();
    for (const node of this.servers.nodes) {
      if (node === leader || (await node.isReplica())) continue;
      this.rebuiltCount += 1;
      await node.start();
      await node.ask("/reinitialize", { method: "POST", body: { force: true } }).catch(() => undefined);
    }
  }

  /** Does it to the leader; the function that is returned undoes it. */
  async inflict(fault: Fault, leader: PatroniNode): Promise<() => Promise<void>> {
    const index = this.servers.nodes.indexOf(leader);
    switch (fault) {
      case "kill -9 of PostgreSQL and Patroni":
        await Promise.all([leader.killPatroni(), killFamily(leader)]);
        return () => leader.start();
      case "kill -9 of PostgreSQL":
        await killFamily(leader);
        return async () => undefined;
      case "kill -9 of Patroni":
        await leader.killPatroni();
        return () => leader.start();
      case "SIGSTOP of Patroni":
        leader.pausePatroni();
        return () => restartFrozen(leader, []);
      case "SIGSTOP of everything": {
        const postmaster = await leader.postgresPid();
        const frozen = [leader.pid, ...(postmaster === undefined ? [] : familyOf(postmaster))];
        signalAll(frozen, "SIGSTOP");
        return () => restartFrozen(leader, frozen);
      }
      case "cut from etcd":
        this.#etcdLinks[index]?.set({ cut: true });
        return async () => {
          await this.#etcdLinks[index]?.heal();
        };
      case "full disk":
        await writeUntilItEnds(leader);
        return () => leader.freeDisk();
    }
  }

  /** Cuts clients off from a node, PostgreSQL and Patroni; the cluster itself is well. */
  cutFromClients(node: PatroniNode): () => Promise<void> {
    const index = this.servers.nodes.indexOf(node);
    const links = [this.#clientLinks[index], this.#restLinks[index]];
    for (const link of links) link?.set({ cut: true });
    return async () => {
      await Promise.all(links.map((link) => link?.heal()));
    };
  }

  /** Has every replica stop replaying what it receives, which Patroni does not notice. */
  async holdReplay(): Promise<() => void> {
    const leader = await this.servers.waitForLeader();
    const replicas = this.servers.nodes.filter((node) => node !== leader);
    const startups = await Promise.all(
      replicas.map(async (node) => {
        const pid = await node.postgresPid();
        const family = pid === undefined ? [] : familyOf(pid);
        return family.filter((each) => commandOf(each).includes("startup"));
      }),
    );
    const held = startups.flat();
    signalAll(held, "SIGSTOP");
    return () => signalAll(held, "SIGCONT");
  }

  /** Has a leader keep what it writes to itself. */
  async holdSending(leader: PatroniNode): Promise<void> {
    const pid = await leader.postgresPid();
    const family = pid === undefined ? [] : familyOf(pid);
    signalAll(
      family.filter((each) => commandOf(each).includes("walsender")),
      "SIGSTOP",
    );
  }

  /** Cuts clients off from the Patroni of these nodes; their PostgreSQL can be reached. */
  cutPatroni(nodes: readonly PatroniNode[]): () => Promise<void> {
    const links = nodes.map((node) => this.#restLinks[this.servers.nodes.indexOf(node)]);
    for (const link of links) link?.set({ cut: true });
    return async () => {
      await Promise.all(links.map((link) => link?.heal()));
    };
  }

  /** Resets the connections of clients to PostgreSQL, on every node. */
  resetClients(): void {
    for (const link of this.#clientLinks) link.reset();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.servers[Symbol.asyncDispose]();
    const links = [...this.#etcdLinks, ...this.#clientLinks, ...this.#restLinks];
    await Promise.all(links.map((link) => link[Symbol.asyncDispose]()));
  }
}
