import { type Logger, TaskGroup } from "@holdfast/kernel";
import { ConnectError } from "../errors.ts";
import { PostgresConnection } from "../postgres/connection.ts";
import { ConnectionPool } from "../postgres/connection-pool.ts";
import { type PoolSettings, refuseOldServer } from "../postgres/open-postgres.ts";
import { PostgresDatabase } from "../postgres/postgres-database.ts";
import { describeServer, type ServerAddress } from "../postgres/server-address.ts";
import type { DatabaseStats } from "../sql/database.ts";
import type { SqlSession } from "../sql/session.ts";
import { WrongServerError } from "./cluster-errors.ts";
import type { NodeRole } from "./cluster-status.ts";
import { type NodeReport, probe } from "./node-probe.ts";
import type { VerifiedConnection } from "./probe-link.ts";
import { addStats, NO_STATS } from "./stats-sum.ts";

/**
 * For so long the first write to a new primary has it to itself. A crowd of connections that are opened at the same
 * time costs the server several times as much as the write, which took 9 ms beside three of them and 4 ms before them.
 */
const FIRST_WRITE_MS = 10;

/** A pool is for one server in one role on one timeline, and is thrown away when any of the three changes. */
export interface NodeIdentity {
  readonly name: string;
  readonly address: ServerAddress;
  readonly role: NodeRole;
  readonly systemId: string;
  readonly timeline: number;
}

export interface NodePool {
  readonly identity: NodeIdentity;
  readonly database: PostgresDatabase;
}

const keyOf = ({ name, address, role, systemId, timeline }: NodeIdentity): string =>
  [name, address.host, address.port, role, systemId, timeline].join("|");

/** Pools of connections, each of which was verified when it was opened. */
export class NodePools {
  readonly #settings: PoolSettings;
  readonly #owner: object;
  readonly #onMismatch: () => void;
  readonly #takePromoted: (name: string) => VerifiedConnection | undefined;
  readonly #pools = new Map<string, NodePool>();
  /** Those that are being given up. */
  readonly #retiring = new Set<PostgresDatabase>();
  readonly #tasks: TaskGroup;
  #retired: DatabaseStats = NO_STATS;
  serverVersion = "";

  constructor(options: {
    readonly settings: PoolSettings;
    /** What callers must not use inside their transactions. */
    readonly owner: object;
    /** Called when a server turned out to be another than it was taken for. */
    readonly onMismatch: () => void;
    /** Gives the connection on which a server has just told of its promotion, if there is one. */
    readonly takePromoted: (name: string) => VerifiedConnection | undefined;
    readonly logger: Logger;
  }) {
    this.#settings = options.settings;
    this.#owner = options.owner;
    this.#onMismatch = options.onMismatch;
    this.#takePromoted = options.takePromoted;
    this.#tasks = new TaskGroup({ logger: options.logger });
  }

  /** The pool for this server, opened if there is none. Connections are opened when they are needed. */
  get(identity: NodeIdentity): NodePool {
    const key = keyOf(identity);
    let pool = this.#pools.get(key);
    if (pool === undefined) {
      pool = { identity, database: this.#create(identity) };
      this.#pools.set(key, pool);
    }
    return pool;
  }

  /**
   * Gives up every pool that `keep` does not name. A replica's statements may end; a primary that was replaced is cut
   * off at once, so that nothing more reaches it.
   */
  retainOnly(keep: readonly NodeIdentity[]): void {
    const keys = new Set(keep.map(keyOf));
    for (const [key, pool] of this.#pools) {
      if (keys.has(key)) continue;
      this.#pools.delete(key);
      this.#tasks.spawn("close the pool of a server", () => this.#retire(pool, pool.identity.role));
    }
  }

  stats(): DatabaseStats {
    return [...this.#pools.values()].reduce(
      (sum, { database }) => addStats(sum, database.stats()),
      this.#retired,
    );
  }

  async close(graceMs: number): Promise<void> {
    const pools = [...this.#pools.values()];
    this.#pools.clear();
    const databases = [...pools.map(({ database }) => database), ...this.#retiring];
    await Promise.all(databases.map((database) => database.close({ graceMs })));
    for (const { database } of pools)
      this.#retired = addStats(this.#retired, { ...database.stats(), sessionMaxCount: 0 });
    await this.#tasks.stop();
  }

  /** Opens a connection to `identity` and makes sure that it is there. @throws WrongServerError */
  async open(
    identity: NodeIdentity,
    preparedMaxCount: number,
    signal: AbortSignal,
  ): Promise<PostgresConnection> {
    let report: NodeReport | undefined;
    const settings = {
      ...this.#settings,
      preparedMaxCount,
      address: identity.address,
      alongside: async (session: SqlSession): Promise<void> => {
        report = await probe(session, { timeoutMs: this.#settings.connectTimeoutMs });
      },
    };
    return this.#verified(identity, await PostgresConnection.open(settings, signal), report);
  }

  /** The connection, when what the server said on it fits. @throws WrongServerError */
  async #verified(
    identity: NodeIdentity,
    connection: PostgresConnection,
    report: NodeReport | undefined,
  ): Promise<PostgresConnection> {
    const server = describeServer(identity.address);
    try {
      refuseOldServer(connection, server);
      this.#refuseOther(identity, report, server);
      this.serverVersion = connection.serverVersion;
      return connection;
    } catch (error) {
      await connection.close("broken");
      if (error instanceof WrongServerError) this.#onMismatch();
      throw error;
    }
  }

  #create(identity: NodeIdentity): PostgresDatabase {
    const { maxCount, clock, preparedMaxCount } = this.#settings;
    let othersFrom = Number.NEGATIVE_INFINITY;
    const pool = new ConnectionPool({
      ...this.#settings,
      server: `${identity.name} (${describeServer(identity.address)}, ${identity.role})`,
      open: async (signal) => {
        const promoted = identity.role === "primary" ? this.#takePromoted(identity.name) : undefined;
        if (promoted !== undefined) {
          othersFrom = clock.monotonicNow() + FIRST_WRITE_MS;
          return this.#verified(identity, promoted.connection, promoted.report);
        }
        const waitMs = othersFrom - clock.monotonicNow();
        if (waitMs > 0) await clock.sleep(waitMs, { signal });
        return this.open(identity, preparedMaxCount, signal);
      },
    });
    return new PostgresDatabase({
      pool,
      maxCount,
      serverVersion: this.serverVersion,
      clock,
      owner: this.#owner,
    });
  }

  async #retire({ database }: NodePool, role: NodeRole): Promise<void> {
    this.#retiring.add(database);
    await database.close({ graceMs: role === "primary" ? 0 : 5_000 });
    this.#retiring.delete(database);
    this.#retired = addStats(this.#retired, { ...database.stats(), sessionMaxCount: 0 });
  }

  #refuseOther(wanted: NodeIdentity, found: NodeReport | undefined, server: string): void {
    if (found === undefined) throw new ConnectError(server, "it did not say what it is");
    const role: NodeRole = found.inRecovery ? "replica" : "primary";
    const isSame =
      found.systemId === wanted.systemId && found.timeline === wanted.timeline && role === wanted.role;
    if (isSame) return;
    const describe = (system: string, what: NodeRole, timeline: number): string =>
      `the ${what} of system ${system} on timeline ${timeline}`;
    throw new WrongServerError(
      server,
      describe(wanted.systemId, wanted.role, wanted.timeline),
      describe(found.systemId, role, found.timeline),
    );
  }
}
