import { InvalidInputError, toWireError, untilAborted } from "@holdfast/kernel";
import { readPoolOptions } from "../postgres/open-postgres.ts";
import { type ClusterSession, createSession } from "../session/cluster-session.ts";
import type { Database } from "../sql/database.ts";
import { ClusterRouter, ClusterStatements, type ReadOptions } from "./cluster-database.ts";
import { NoPrimaryError } from "./cluster-errors.ts";
import { ClusterMonitor } from "./cluster-monitor.ts";
import {
  type ClusterOptions,
  parseClusterUrl,
  parseHostAndPort,
  readClusterOptions,
} from "./cluster-options.ts";
import type { ClusterEvents, ClusterStatus, SwitchoverReport } from "./cluster-status.ts";
import { type Discovery, FixedDiscovery, PatroniDiscovery } from "./discovery.ts";
import { NodePools } from "./node-pools.ts";
import { PatroniClient } from "./patroni-client.ts";
import { Switchover, type SwitchoverOptions } from "./switchover.ts";
import type { TimelineSwitch } from "./timeline-history.ts";

/**
 * A replicated PostgreSQL as one {@link Database}: `query`, `execute`, `transaction` and `listen` go to the primary,
 * whichever that is, and follow it at once when it changes; `read` and sessions use the replicas.
 *
 * A statement or transaction that reached no server is tried again by itself within `primaryWaitMs`. One that was cut
 * fails as on a single server: ConnectionLostError when nothing was kept, OutcomeUnknownError when nobody can tell.
 */
export interface ClusterDatabase extends Database {
  readonly kind: "cluster";
  /** What is known now, as a copy. Costs nothing: the servers are watched anyway. */
  status(): ClusterStatus;
  /** Asks every server now, and says what they say. */
  refresh(): Promise<ClusterStatus>;
  /** Every promotion on record, oldest first, as a copy. It is kept by the servers, so it survives us. */
  history(options?: { readonly signal?: AbortSignal }): Promise<readonly TimelineSwitch[]>;
  /** Listens to changes; returns the function that ends it. */
  on<K extends keyof ClusterEvents>(name: K, listener: (event: ClusterEvents[K]) => void): () => void;
  /** A read of a replica within the bounds on lag, or what the fallback says. Sees nothing newer or older for sure: for that take a session. */
  read<Row extends object = Record<string, unknown>>(
    text: string,
    values?: readonly unknown[],
    options?: ReadOptions,
  ): Promise<readonly Row[]>;
  /**
   * Reads that never go back behind what was written or read before.
   * @throws InvalidInputError for a token of another system, or of nobody.
   */
  session(options?: { readonly token?: string | undefined }): ClusterSession;
  /**
   * Makes another node the primary, in an orderly way; needs Patroni. Writes wait meanwhile, at most `pauseMaxMs`, and
   * no transaction of this database fails.
   * @throws SwitchoverRefusedError when it did not happen: the old primary goes on.
   */
  switchover(options?: SwitchoverOptions): Promise<SwitchoverReport>;
  /**
   * Has a replica promoted when the primary is gone and nobody does it by himself. Commits that no synchronous replica
   * had confirmed may be lost; sessions that saw them are told by PositionLostError.
   * @throws SwitchoverRefusedError while the primary is well, without a healthy replica, or without Patroni.
   */
  failover(options?: SwitchoverOptions): Promise<SwitchoverReport>;
}

class Cluster extends ClusterStatements implements ClusterDatabase {
  readonly kind = "cluster";
  readonly durability = "server";
  readonly #router: ClusterRouter;
  readonly #switchover: Switchover;

  constructor(router: ClusterRouter, switchover: Switchover) {
    super(router);
    this.#router = router;
    this.#switchover = switchover;
  }

  get serverVersion(): string {
    return this.#router.parts.pools.serverVersion;
  }

  status(): ClusterStatus {
    return this.#router.status;
  }

  async refresh(): Promise<ClusterStatus> {
    await this.#router.parts.monitor.refresh();
    return this.#router.status;
  }

  history(options: { readonly signal?: AbortSignal } = {}): Promise<readonly TimelineSwitch[]> {
    return this.#router.history(options.signal);
  }

  on<K extends keyof ClusterEvents>(name: K, listener: (event: ClusterEvents[K]) => void): () => void {
    return this.#router.events.on(name, listener);
  }

  override read<Row extends object>(
    text: string,
    values?: readonly unknown[],
    options: ReadOptions = {},
  ): Promise<readonly Row[]> {
    return super.read<Row>(text, values, options);
  }

  session(options: { readonly token?: string | undefined } = {}): ClusterSession {
    return createSession(this.#router, options);
  }

  switchover(options: SwitchoverOptions = {}): Promise<SwitchoverReport> {
    return this.#switchover.run(options);
  }

  failover(options: SwitchoverOptions = {}): Promise<SwitchoverReport> {
    return this.#switchover.failOver(options);
  }

  close(options: { readonly graceMs?: number } = {}): Promise<void> {
    return this.#router.close(options.graceMs ?? 5_000);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

/**
 * Opens a cluster and waits until its primary is found and answers, at most `connectTimeoutMs`; without
 * `needsPrimary`, until every server was looked at once.
 *
 * @throws InvalidInputError for options that cannot be used, AuthenticationError, UnsupportedServerError, ConnectError for
 *   a database that is not there: not retryable. Where every server refuses us so, at once, here and while it is used.
 * @throws NoPrimaryError, ConnectError: retryable. No message holds a password.
 */
export const openCluster = async (options: ClusterOptions): Promise<ClusterDatabase> => {
  const settings = readClusterOptions(options);
  const pool = readPoolOptions(options);
  const { clock, logger } = pool;
  const { address, hosts } = await parseClusterUrl(options.url);
  const named = {
    ...address,
    applicationName: options.applicationName ?? address.applicationName ?? "holdfast",
  };
  const router = new ClusterRouter({ pool, logger });
  const wanted = options.discovery ?? { kind: "hosts" as const };
  const clients =
    wanted.kind === "patroni"
      ? wanted.urls.map(
          (url) => new PatroniClient({ url, ca: wanted.ca, clock, timeoutMs: settings.probeTimeoutMs }),
        )
      : [];
  if (wanted.kind === "patroni" && clients.length === 0) {
    throw new InvalidInputError("discovery.urls", wanted.urls, "at least one URL");
  }
  const discovery: Discovery =
    wanted.kind === "patroni"
      ? new PatroniDiscovery({
          clients,
          clock,
          logger,
          pauseMs: () => monitor.askPauseMs(),
          freshMs: () => monitor.askPauseMs() * 2 + settings.probeTimeoutMs,
        })
      : new FixedDiscovery(
          wanted.kind,
          wanted.kind === "hosts"
            ? hosts
            : [
                parseHostAndPort(wanted.write, "discovery.write"),
                ...(wanted.read === undefined ? [] : [parseHostAndPort(wanted.read, "discovery.read")]),
              ],
        );
  /** By member: why `mapAddress` failed last. */
  const unmapped = new Map<string, string>();
  const monitor: ClusterMonitor = new ClusterMonitor({
    discovery,
    addressOf: ({ name, host, port }) => {
      try {
        const reached = options.mapAddress?.({ name, host, port }) ?? { host, port };
        unmapped.delete(name);
        return { ...named, ...reached };
      } catch (error) {
        if (!unmapped.has(name)) logger.error({ err: error, node: name }, "mapAddress failed for a server");
        unmapped.set(name, toWireError(error).message);
        return undefined;
      }
    },
    statements: pool,
    pollEveryMs: settings.pollEveryMs,
    probeTimeoutMs: settings.probeTimeoutMs,
    bounds: { lagMaxMs: settings.lagMaxMs, lagMaxBytes: settings.lagMaxBytes },
    systemId: options.systemId,
    clock,
    logger,
    onJudged: router.onJudged,
    onPrimary: router.onPrimary,
  });
  const pools = new NodePools({
    settings: pool,
    owner: router.owner,
    onMismatch: () => monitor.poke(),
    takePromoted: (name) => monitor.takePromoted(name),
    logger,
  });
  router.use({ monitor, pools, pool, settings, logger });
  const cluster = new Cluster(router, new Switchover({ router, clients, clock, logger }));
  monitor.start();
  if (options.needsPrimary === false) {
    await untilAborted(monitor.refresh(), options.signal).catch(async (reason: unknown) => {
      await cluster.close({ graceMs: 0 });
      throw reason;
    });
    return cluster;
  }
  try {
    await router.onPrimaryPool(
      { waitMs: pool.connectTimeoutMs, signal: options.signal, isRepeatable: true },
      ({ database }) => database.query("SELECT 1", [], { signal: options.signal }),
    );
    return cluster;
  } catch (error) {
    const problems = router.status.nodes.flatMap(({ name, problem }) =>
      problem === undefined ? [] : [`${name}: ${problem}`],
    );
    for (const [name, problem] of unmapped) problems.push(`${name}: mapAddress failed: ${problem}`);
    await cluster.close({ graceMs: 0 });
    if (!(error instanceof NoPrimaryError)) throw error;
    if (problems.length > 0) throw new NoPrimaryError(problems.join("; "), pool.connectTimeoutMs);
    const isKnown = monitor.status.nodes.length > 0;
    throw new NoPrimaryError(isKnown ? "no node leads" : "no server of it was found", pool.connectTimeoutMs);
  }
};
