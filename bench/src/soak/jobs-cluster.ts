import { fileURLToPath } from "node:url";
import { type ManagedProcess, type PostgresServer, startPostgres, startProcess } from "@holdfast/testkit";
import { type Host, Hosts } from "./hosts.ts";

const BIN = fileURLToPath(new URL("../../../apps/cli/bin/holdfast.js", import.meta.url));
const WORKFLOWS = fileURLToPath(new URL("./jobs-workflows.mjs", import.meta.url));
const PORT = 7_400;
const READY_LIMIT_MS = 60_000;

export type Role = "gate" | "manager" | "worker";

/** Of the statistics of a gate, a manager or a worker. */
export interface NodeStats {
  /** Gates and managers: jobs whose writes were refused. */
  readonly deposedJobs?: number;
  /** Managers. */
  readonly outcomes?: { readonly accepted: number; readonly stale: number; readonly notLeader: number };
  readonly lapsedClaims?: number;
  /** Workers. */
  readonly refusedEffects?: number;
}

interface LogLine {
  readonly level?: number | string;
  readonly msg?: string;
  readonly stats?: NodeStats;
}

/** One node: a process on a host of its own. */
export class Node {
  readonly id: string;
  readonly role: Role;
  /** Undefined for gates. */
  readonly datacenter: string | undefined;
  readonly host: Host;
  /** Lines of warnings and worse that its log had, counted by their message. */
  readonly warnings: Map<string, number>;
  /** What the node counted from its last start on; known when it was stopped. */
  stats: NodeStats | undefined;
  readonly #args: readonly string[];
  readonly #env: Readonly<Record<string, string>>;
  #process: ManagedProcess | undefined;

  constructor(options: {
    readonly id: string;
    readonly role: Role;
    readonly datacenter?: string;
    readonly host: Host;
    readonly args: readonly string[];
    readonly database: string;
    readonly warnings: Map<string, number>;
  }) {
    this.id = options.id;
    this.role = options.role;
    this.datacenter = options.datacenter;
    this.host = options.host;
    this.warnings = options.warnings;
    this.#args = options.args;
    this.#env = { HOLDFAST_DATABASE: options.database, HOLDFAST_LOG: "info" };
  }

  get address(): string {
    return `${this.host.ip}:${PORT}`;
  }

  async start(): Promise<void> {
    const [command = "", ...before] = this.host.exec;
    this.#process = await startProcess(
      command,
      [...before, process.execPath, BIN, this.role, "--id", this.id, ...this.#args, "--insecure", "--json"],
      { name: this.id, env: { ...process.env, ...this.#env } },
    );
    await this.#process.waitForLine(/^\{"event":"ready"/, { timeoutMs: READY_LIMIT_MS });
  }

  async kill(): Promise<void> {
    this.#readWarnings();
    await this.#process?.kill("SIGKILL");
  }

  freeze(): void {
    this.#process?.pause();
  }

  thaw(): void {
    this.#process?.resume();
  }

  /** True when the process is there, frozen or not. */
  get isRunning(): boolean {
    return this.#process?.running ?? false;
  }

  async stop(): Promise<void> {
    this.thaw();
    this.#readWarnings();
    await this.#process?.stop();
    for (const { stats } of this.#logLines()) if (stats !== undefined) this.stats = stats;
  }

  #readWarnings(): void {
    for (const { level, msg } of this.#logLines()) {
      if (msg === undefined || !(level === "warn" || level === "error" || Number(level) >= 40)) continue;
      this.warnings.set(msg, (this.warnings.get(msg) ?? 0) + 1);
    }
  }

  #logLines(): readonly LogLine[] {
    return (this.#process?.output ?? "").split("\n").flatMap((line) => {
      if (!line.startsWith("{")) return [];
      try {
        return [JSON.parse(line) as LogLine];
      } catch {
        // Cut off by the kill.
        return [];
      }
    });
  }
}

export interface JobsCluster {
  readonly nodes: readonly Node[];
  readonly gates: readonly string[];
  readonly datacenters: readonly string[];
  /** The store, and the workers' database, of each datacenter. */
  readonly databases: ReadonlyMap<string, PostgresServer>;
  /** Warnings and errors in the logs of nodes that were killed or stopped, by message. */
  readonly warnings: ReadonlyMap<string, number>;
}

/**
 * Runs `body` on three gates with a PostgreSQL of theirs, and two datacenters of three managers and four workers
 * with another each. Every node is a process on a host of its own.
 */
export const withJobsCluster = async <T>(
  options: { readonly onProgress: (what: string) => void; readonly effectsTable: string },
  body: (cluster: JobsCluster) => Promise<T>,
): Promise<T> => {
  const closers: (() => unknown)[] = [];
  try {
    return await body(await startCluster(options, closers));
  } finally {
    for (let close = closers.pop(); close !== undefined; close = closers.pop()) await close();
  }
};

const startCluster = async (
  options: { readonly onProgress: (what: string) => void; readonly effectsTable: string },
  closers: (() => unknown)[],
): Promise<JobsCluster> => {
  const hosts = new Hosts(41);
  closers.push(() => hosts[Symbol.dispose]());
  const warnings = new Map<string, number>();
  const databases = new Map<string, PostgresServer>();
  const nodes: Node[] = [];
  const add = (node: Node): Node => {
    nodes.push(node);
    closers.push(() => node.stop());
    return node;
  };
  const openDatabase = async (): Promise<{ readonly server: PostgresServer; readonly database: string }> => {
    const server = await startPostgres({ settings: { max_connections: 200 } });
    closers.push(() => server[Symbol.asyncDispose]());
    const { host, port } = await hosts.offer(server.port);
    const url = new URL(server.url);
    url.host = `${host}:${port}`;
    return { server, database: url.href };
  };

  const datacenters = ["east", "west"];
  const places: string[] = [];
  for (const datacenter of datacenters) {
    options.onProgress(`starting ${datacenter}`);
    const { server, database } = await openDatabase();
    databases.set(datacenter, server);
    await server.sql(options.effectsTable);
    const own = { datacenter, database, warnings };
    const place = ["--datacenter", datacenter];
    const managers = [1, 2, 3].map((number) => {
      const host = hosts.add(`${datacenter[0]}m${number}`);
      const args = [...place, "--listen", `${host.ip}:${PORT}`];
      return add(new Node({ ...own, id: `${datacenter}-m${number}`, role: "manager", host, args }));
    });
    const addresses = managers.map(({ address }) => address).join(",");
    places.push("--datacenter", `${datacenter}=${addresses}`);
    const workers = [1, 2, 3, 4].map((number) => {
      const host = hosts.add(`${datacenter[0]}w${number}`);
      const args = [...place, "--manager", addresses, "--workflows", WORKFLOWS, "--cores", "8"];
      return add(new Node({ ...own, id: `${datacenter}-w${number}`, role: "worker", host, args }));
    });
    for (const node of [...managers, ...workers]) await node.start();
  }
  options.onProgress("starting the gates");
  const { database } = await openDatabase();
  const gates = [1, 2, 3].map((number) => {
    const host = hosts.add(`g${number}`);
    const args = ["--listen", `${host.ip}:${PORT}`, ...places];
    return add(new Node({ id: `gate-${number}`, role: "gate", host, args, database, warnings }));
  });
  for (const gate of gates) await gate.start();
  return { nodes, gates: gates.map(({ address }) => address), datacenters, databases, warnings };
};
