import { type Abortable, ClosedError, Emitter, type Logger, OutcomeUnknownError } from "@holdfast/kernel";
import { ConnectError, ConnectionLostError, ReadOnlyDatabaseError } from "../errors.ts";
import { NotificationListener } from "../postgres/notification-listener.ts";
import type { PoolSettings } from "../postgres/open-postgres.ts";
import type { Lease, PostgresDatabase } from "../postgres/postgres-database.ts";
import type {
  Database,
  DatabaseStats,
  ListenInterruption,
  StatementOptions,
  StatementResult,
  Transaction,
  TransactionOptions,
} from "../sql/database.ts";
import { type TimeLeft, timeLeft } from "../sql/time-left.ts";
import { refuseInsideTransaction } from "../sql/transaction-scope.ts";
import { NoPrimaryError, NoReplicaError, WrongServerError } from "./cluster-errors.ts";
import { type ClusterMonitor, isSameCondition } from "./cluster-monitor.ts";
import type { ClusterSettings } from "./cluster-options.ts";
import type { ClusterEvents, ClusterStatus, NodeStatus, PrimaryChange } from "./cluster-status.ts";
import type { NodeIdentity, NodePool, NodePools } from "./node-pools.ts";
import { refuseWrite } from "./refuse-write.ts";
import type { TimelineSwitch } from "./timeline-history.ts";
import { type Pass, type ShutReason, WriteGate } from "./write-gate.ts";

/** How long to wait before a write that reached no server is tried again on the same one. */
const AGAIN_MS = 50;

export interface ReadOptions extends StatementOptions {
  /**
   * `replica` (default): a replica where one may serve, else what the fallback says. `primary`: always the primary.
   */
  readonly from?: "replica" | "primary" | undefined;
}

/** How long a call may take. */
export interface Limits extends Abortable {
  readonly left?: TimeLeft;
}

/** The parts that a cluster is put together from. */
export interface ClusterParts {
  readonly monitor: ClusterMonitor;
  readonly pools: NodePools;
  readonly pool: PoolSettings;
  readonly settings: ClusterSettings;
  readonly logger: Logger;
}

/**
 * The router: writes to the one verified primary, reads to replicas that are fresh enough, and what happens while the
 * primary changes. Sessions, switchover and the public face stand on it.
 */
export class ClusterRouter {
  readonly gate: WriteGate<NodePool>;
  readonly events: Emitter<ClusterEvents>;
  readonly owner: object = this;
  #parts: ClusterParts | undefined;
  #listener: NotificationListener | undefined;
  #lastStatus: ClusterStatus | undefined;
  #readers: readonly NodePool[] = [];
  /** Of the primary that notifications come from. */
  #listeningTimeline: number | undefined;
  #isClosed = false;

  constructor(options: { readonly pool: PoolSettings; readonly logger: Logger }) {
    this.gate = new WriteGate({
      clock: options.pool.clock,
      waitingMaxCount: options.pool.waitingMaxCount,
    });
    this.events = new Emitter((error) =>
      options.logger.error({ err: error }, "a listener of the cluster failed"),
    );
  }

  /** Called once, before anything else. The parts call back, so they are made with the router at hand. */
  use(parts: ClusterParts): void {
    this.#parts = parts;
    this.#listener = new NotificationListener({
      open: (signal) => this.#openForListening(signal),
      clock: parts.pool.clock,
      random: parts.pool.random,
      logger: parts.logger,
    });
  }

  get parts(): ClusterParts {
    if (this.#parts === undefined) throw new Error("broken invariant: the router is used before its parts");
    return this.#parts;
  }

  get listener(): NotificationListener {
    if (this.#listener === undefined)
      throw new Error("broken invariant: the router is used before its parts");
    return this.#listener;
  }

  get status(): ClusterStatus {
    const { status } = this.parts.monitor;
    if (!this.gate.isPaused) return status;
    return {
      ...status,
      condition: { kind: "switching-over", takesWrites: false, takesReads: status.condition.takesReads },
    };
  }

  /** Takes what the monitor knows now: whom to write to, and whom to read from. */
  readonly onJudged = (status: ClusterStatus): void => {
    if (this.#isClosed || this.#parts === undefined) return;
    const { pools } = this.parts;
    const identities = status.nodes.flatMap((node) => this.#identify(node, status));
    pools.retainOnly(identities.map(({ identity }) => identity));
    const primary = identities.find(({ identity }) => identity.name === status.primary);
    if (primary !== undefined) this.gate.open(pools.get(primary.identity));
    else this.gate.shut(this.#whyShut(status));
    this.#readers = identities
      .filter(({ takesReads, identity }) => takesReads && identity.role === "replica")
      .map(({ identity }) => pools.get(identity));
    const before = this.#lastStatus;
    this.#lastStatus = status;
    if (before !== undefined && !isSameCondition(before.condition, status.condition)) {
      this.events.emit("condition", { from: before.condition, to: status.condition });
    }
  };

  readonly onPrimary = (change: PrimaryChange): void => {
    // A primary that was lost from sight for a moment is still listened to.
    if (change.to !== undefined && change.timeline !== this.#listeningTimeline) this.#listener?.reconnect();
    this.events.emit("primary", change);
  };

  /**
   * Runs `work` on the primary. It is run again, within the time a write waits for a primary or `waitMs`, as long as it
   * reached no server: `work` reports by `started` that something was sent. It waits no longer than `left` says.
   */
  async onPrimaryPool<T>(
    options: Limits & { readonly isRepeatable: boolean; readonly waitMs?: number },
    work: (pool: NodePool, started: () => void) => Promise<T>,
  ): Promise<T> {
    const { clock } = this.parts.pool;
    const waitMs = Math.min(
      options.waitMs ?? this.parts.settings.primaryWaitMs,
      options.left?.() ?? Infinity,
    );
    const deadline = clock.monotonicNow() + waitMs;
    for (;;) {
      const pass = this.gate.enterNow() ?? (await this.#enter(deadline, options));
      let isStarted = false;
      try {
        return await work(pass.target, () => {
          isStarted = true;
        });
      } catch (error) {
        pass.leave();
        if (!this.noteFailure(error)) throw error;
        // A server that refuses us for good does so again.
        if (error instanceof ConnectError && !error.retryable) throw error;
        const mayRunAgain = !isStarted || (options.isRepeatable && error instanceof ConnectionLostError);
        if (!mayRunAgain || this.#isClosed) throw error;
        if (clock.monotonicNow() >= deadline) throw lastWord(error, waitMs);
        await clock.sleep(AGAIN_MS, { signal: options.signal });
      } finally {
        pass.leave();
      }
    }
  }

  /** A replica that may serve reads; the one of two with less to do. */
  pickReader(fits: (pool: NodePool) => boolean = () => true): NodePool | undefined {
    const fitting = this.#readers.filter(fits);
    if (fitting.length <= 1) return fitting[0];
    const { random } = this.parts.pool;
    const first = Math.floor(random.next() * fitting.length);
    const second = (first + 1 + Math.floor(random.next() * (fitting.length - 1))) % fitting.length;
    const [a, b] = [fitting[first] as NodePool, fitting[second] as NodePool];
    return a.database.busyCount <= b.database.busyCount ? a : b;
  }

  /** Runs `read` on a replica, another one when that fails for reasons of its own, and then by the fallback. */
  async onReplica<T>(options: Limits, read: (database: PostgresDatabase) => Promise<T>): Promise<T> {
    const failed = new Set<NodePool>();
    for (;;) {
      const pool = this.pickReader((each) => !failed.has(each));
      if (pool === undefined) return this.#readFallback(options, read);
      try {
        return await read(pool.database);
      } catch (error) {
        // What a replica refuses as a write must not become one on the primary.
        if (error instanceof ReadOnlyDatabaseError || !this.noteFailure(error)) throw error;
        failed.add(pool);
      }
    }
  }

  /** @throws NoReplicaError where the fallback is an error, or there is no primary either. */
  async #readFallback<T>(options: Limits, read: (database: PostgresDatabase) => Promise<T>): Promise<T> {
    if (this.parts.settings.readFallback === "error") {
      throw new NoReplicaError("no replica is fresh enough, and the primary is not to be asked");
    }
    try {
      return await this.onPrimaryPool({ ...options, isRepeatable: true }, ({ database }) => read(database));
    } catch (error) {
      if (!(error instanceof NoPrimaryError)) throw error;
      throw new NoReplicaError("no replica is fresh enough, and there is no primary", { cause: error });
    }
  }

  /** Whether the failure may come from a change of primary; then everything is looked at at once. */
  noteFailure(error: unknown): boolean {
    const isOfServer =
      error instanceof ConnectError ||
      error instanceof ConnectionLostError ||
      error instanceof ReadOnlyDatabaseError ||
      error instanceof WrongServerError ||
      // The pool was given up between the choice and the call.
      (error instanceof ClosedError && !this.#isClosed);
    if (isOfServer || error instanceof OutcomeUnknownError) this.parts.monitor.poke();
    return isOfServer;
  }

  async history(signal?: AbortSignal): Promise<readonly TimelineSwitch[]> {
    return [...(await this.parts.monitor.refreshHistory(signal))];
  }

  async close(graceMs: number): Promise<void> {
    this.#isClosed = true;
    this.gate.close();
    await this.parts.monitor.stop();
    await Promise.all([this.listener.close(), this.parts.pools.close(graceMs)]);
  }

  async #enter(deadline: number, { signal, left }: Limits): Promise<Pass<NodePool>> {
    if (this.#isClosed) throw new ClosedError("the cluster");
    this.parts.monitor.poke();
    const waitMs = Math.max(0, deadline - this.parts.pool.clock.monotonicNow());
    return this.gate.enter({ waitMs, limitMs: left?.(), signal });
  }

  #identify(
    node: NodeStatus,
    status: ClusterStatus,
  ): readonly { readonly identity: NodeIdentity; readonly takesReads: boolean }[] {
    const address = this.parts.monitor.addressOf(node.name);
    const { role, timeline } = node;
    // One that does not answer keeps its pool, unless a newer timeline tells that its time is over: it may be back soon.
    const isUsable = node.health !== "foreign" && !node.isStale;
    if (address === undefined || role === undefined || timeline === undefined || !isUsable) return [];
    // A primary that is not the chosen one gets no pool: nothing must reach it.
    if (role === "primary" && timeline !== status.timeline) return [];
    return [
      {
        identity: { name: node.name, address, role, timeline, systemId: status.systemId ?? "" },
        takesReads: node.takesReads,
      },
    ];
  }

  #whyShut({ condition }: ClusterStatus): ShutReason {
    if (condition.kind === "split-brain") return { kind: "split-brain", nodes: condition.nodes };
    const { refusal } = this.parts.monitor;
    return refusal === undefined ? { kind: "no-primary" } : { kind: "refused", error: refusal };
  }

  #openForListening(signal: AbortSignal): ReturnType<NodePools["open"]> {
    return this.onPrimaryPool({ signal, isRepeatable: true }, ({ identity }) => {
      this.#listeningTimeline = identity.timeline;
      return this.parts.pools.open(identity, 0, signal);
    });
  }
}

/** That the pool of a primary is closed is no news to callers; that it changed under them is. */
const lastWord = (error: unknown, waitedMs: number): unknown =>
  error instanceof ClosedError
    ? new NoPrimaryError("it changed, and the next was not found in time", waitedMs, { cause: error })
    : error;

/** What an open transaction and a statement need to run on the primary. */
export class ClusterStatements
  implements Pick<Database, "query" | "execute" | "transaction" | "listen" | "stats">
{
  readonly #router: ClusterRouter;

  constructor(router: ClusterRouter) {
    this.#router = router;
  }

  async query<Row extends object>(
    text: string,
    values?: readonly unknown[],
    options?: StatementOptions,
  ): Promise<readonly Row[]> {
    return (await this.execute<Row>(text, values, options)).rows;
  }

  async execute<Row extends object>(
    text: string,
    values?: readonly unknown[],
    options: StatementOptions = {},
  ): Promise<StatementResult<Row>> {
    refuseInsideTransaction(this.#router.owner, "query");
    const { signal, timeoutMs } = options;
    const left = timeLeft(this.#router.parts.pool.clock, timeoutMs);
    return this.#router.onPrimaryPool({ signal, left, isRepeatable: true }, ({ database }) =>
      database.execute<Row>(
        text,
        values,
        timeoutMs === undefined ? options : { ...options, timeoutMs: left() },
      ),
    );
  }

  async read<Row extends object>(
    text: string,
    values: readonly unknown[] | undefined,
    options: ReadOptions,
  ): Promise<readonly Row[]> {
    refuseInsideTransaction(this.#router.owner, "read");
    refuseWrite(text);
    const { signal } = options;
    const left = timeLeft(this.#router.parts.pool.clock, options.timeoutMs);
    const run = (database: PostgresDatabase): Promise<readonly Row[]> =>
      database.query<Row>(text, values, { repeatable: true, ...options, timeoutMs: left() });
    return options.from === "primary"
      ? this.#router.onPrimaryPool({ signal, left, isRepeatable: true }, ({ database }) => run(database))
      : this.#router.onReplica({ signal, left }, run);
  }

  transaction<T>(body: (tx: Transaction) => Promise<T>, options: TransactionOptions = {}): Promise<T> {
    refuseInsideTransaction(this.#router.owner, "transaction");
    const { commitTimeoutMs } = this.#router.parts.settings;
    return this.#router.onPrimaryPool(
      { signal: options.signal, isRepeatable: false },
      ({ database }, started) =>
        database.transaction(
          (tx) => {
            started();
            return body(tx);
          },
          { ...options, commitTimeoutMs: options.commitTimeoutMs ?? commitTimeoutMs },
        ),
    );
  }

  /** A connection to the primary for one owner. */
  async lease(options: Parameters<PostgresDatabase["lease"]>[0]): Promise<Lease> {
    refuseInsideTransaction(this.#router.owner, "lease");
    const { gate } = this.#router;
    return this.#router.onPrimaryPool({ signal: options.signal, isRepeatable: true }, async (pool) => {
      const lease = await pool.database.lease(options);
      // Inside until it is given back, so that a switchover waits for it, also one that began meanwhile.
      const pass = gate.enterAgain(pool);
      return {
        ...lease,
        release: () => {
          pass.leave();
          lease.release();
        },
        discard: () => {
          pass.leave();
          lease.discard();
        },
      };
    });
  }

  listen(
    channel: string,
    onPayload: (payload: string) => void,
    onInterrupted?: (what: ListenInterruption) => void,
  ): Promise<AsyncDisposable> {
    refuseInsideTransaction(this.#router.owner, "listen");
    return this.#router.listener.listen(channel, onPayload, onInterrupted);
  }

  stats(): DatabaseStats {
    return { ...this.#router.parts.pools.stats(), listenerCount: this.#router.listener.listenerCount };
  }
}
