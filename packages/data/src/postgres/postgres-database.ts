import { assert, type Clock } from "@holdfast/kernel";
import type {
  Database,
  DatabaseStats,
  ListenInterruption,
  SessionCloseReason,
  StatementOptions,
  StatementResult,
  Transaction,
  TransactionOptions,
} from "../sql/database.ts";
import { DatabaseCounters } from "../sql/database-counters.ts";
import { encodeParameters } from "../sql/parameter.ts";
import { runTransaction } from "../sql/run-transaction.ts";
import type { SqlSession } from "../sql/session.ts";
import { checkTimeLimit, checkTransactionLimits } from "../sql/time-limit.ts";
import { refuseInsideTransaction } from "../sql/transaction-scope.ts";
import type { WaitKind } from "../sql/wait-queue.ts";
import { CancelledInsteadSignal, type PostgresConnection } from "./connection.ts";
import type { ConnectionPool } from "./connection-pool.ts";
import type { NotificationListener } from "./notification-listener.ts";
import { type StatementTraits, traitsOf } from "./statement-traits.ts";

const KNOWN_TEXTS_MAX_COUNT = 1_000;

const CLOSE_REASONS: readonly SessionCloseReason[] = [
  "broken",
  "read-only",
  "idle",
  "lifetime",
  "cancel-failed",
  "closed",
];

/** A connection that one caller has until it calls `release`. */
export interface Lease {
  readonly connection: PostgresConnection;
  readonly session: SqlSession;
  release(): void;
  /** Gives it back to be closed. */
  discard(): void;
}

/** A {@link Database} over a pool of connections to one server. */
export class PostgresDatabase implements Database {
  readonly kind = "postgres";
  readonly durability = "server";
  readonly serverVersion: string;
  readonly #pool: ConnectionPool<PostgresConnection>;
  readonly #listener: NotificationListener | undefined;
  readonly #owner: object;
  readonly #maxCount: number;
  readonly #clock: Clock;
  readonly #counters = new DatabaseCounters();
  /** What was found out about the texts seen lately. */
  readonly #traits = new Map<string, StatementTraits>();

  constructor(options: {
    readonly pool: ConnectionPool<PostgresConnection>;
    /** Left out where somebody else listens. */
    readonly listener?: NotificationListener;
    readonly maxCount: number;
    readonly serverVersion: string;
    readonly clock: Clock;
    /** What a caller must not use inside a transaction. Default: this database. */
    readonly owner?: object;
  }) {
    this.#owner = options.owner ?? this;
    this.#pool = options.pool;
    this.#listener = options.listener;
    this.#maxCount = options.maxCount;
    this.#clock = options.clock;
    this.serverVersion = options.serverVersion;
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
    refuseInsideTransaction(this.#owner, "query");
    const encoded = values === undefined ? undefined : encodeParameters(values);
    const { signal, timeoutMs } = options;
    checkTimeLimit("timeoutMs", timeoutMs);
    signal?.throwIfAborted();
    const traits = this.#traitsOf(text, encoded !== undefined);
    const repeatable = options.repeatable ?? traits.isRepeatable;
    this.#counters.statementCount += 1;
    for (let kind: WaitKind = traits.isShareable ? "shared" : "alone"; ; kind = "alone") {
      let leftMs = timeoutMs;
      let connection = this.#pool.acquireNow(kind);
      if (connection === undefined) {
        const askedAt = this.#clock.monotonicNow();
        connection = await this.#pool.acquire({ signal, timeoutMs, kind });
        if (timeoutMs !== undefined) {
          leftMs = Math.max(0, Math.ceil(askedAt + timeoutMs - this.#clock.monotonicNow()));
        }
      }
      try {
        return await connection.run<Row>(text, encoded, { signal, timeoutMs: leftMs, repeatable });
      } catch (error) {
        // It was hit by the cancelling of the statement before it and did nothing. Alone that does not happen.
        if (error instanceof CancelledInsteadSignal) continue;
        this.#counters.statementFailedCount += 1;
        throw error;
      } finally {
        this.#pool.release(connection);
      }
    }
  }

  async transaction<T>(body: (tx: Transaction) => Promise<T>, options: TransactionOptions = {}): Promise<T> {
    refuseInsideTransaction(this.#owner, "transaction");
    checkTransactionLimits(options);
    const lease = await this.lease({ signal: options.signal, timeoutMs: options.acquireTimeoutMs });
    return this.transactionOn(lease, lease.session, body, options);
  }

  /** Runs `body` on a leased connection, spoken to through `session`, and gives the lease back. */
  async transactionOn<T>(
    lease: Lease,
    session: SqlSession,
    body: (tx: Transaction) => Promise<T>,
    options: TransactionOptions,
  ): Promise<T> {
    this.#counters.transactionCount += 1;
    try {
      return await runTransaction(this.#owner, session, body, options, (end) =>
        this.#counters.transactionEnded(end),
      );
    } finally {
      lease.release();
    }
  }

  /** A connection for one owner. @throws what {@link ConnectionPool.acquire} throws. */
  async lease(options: {
    readonly signal?: AbortSignal | undefined;
    readonly timeoutMs?: number | undefined;
  }): Promise<Lease> {
    const connection = await this.#pool.acquire(options);
    let isReleased = false;
    const release = (): void => {
      if (!isReleased) this.#pool.release(connection);
      isReleased = true;
    };
    return {
      connection,
      session: { run: (...statement) => this.#runCounted(connection, ...statement) },
      release,
      discard: () => {
        connection.giveUp();
        release();
      },
    };
  }

  /** How many of its connections are lent now. */
  get busyCount(): number {
    return this.#pool.busyCount;
  }

  async listen(
    channel: string,
    onPayload: (payload: string) => void,
    onInterrupted?: (what: ListenInterruption) => void,
  ): Promise<AsyncDisposable> {
    refuseInsideTransaction(this.#owner, "listen");
    assert(this.#listener !== undefined, "a pool without a listener is asked to listen");
    return this.#listener.listen(channel, onPayload, onInterrupted);
  }

  stats(): DatabaseStats {
    const pool = this.#pool;
    for (const reason of CLOSE_REASONS) this.#counters.sessionClosedCounts[reason] = pool.closedCount(reason);
    this.#counters.sessionOpenedCount = pool.openedCount;
    this.#counters.acquireTimeoutCount = pool.acquireTimeoutCount;
    this.#counters.acquireWaitTotalMs = pool.acquireWaitTotalMs;
    return this.#counters.snapshot({
      sessionMaxCount: this.#maxCount,
      sessionCount: pool.idleCount + pool.busyCount,
      idleCount: pool.idleCount,
      busyCount: pool.busyCount,
      waitingCount: pool.waitingCount,
      listenerCount: this.#listener?.listenerCount ?? 0,
    });
  }

  async close(options: { readonly graceMs?: number } = {}): Promise<void> {
    await Promise.all([this.#listener?.close(), this.#pool.close(options.graceMs ?? 5_000)]);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #traitsOf(text: string, isSingle: boolean): StatementTraits {
    // Only texts with values, which tend to come back, are worth remembering.
    if (!isSingle) return traitsOf(text, isSingle);
    let traits = this.#traits.get(text);
    if (traits === undefined) {
      traits = traitsOf(text, isSingle);
      if (this.#traits.size >= KNOWN_TEXTS_MAX_COUNT) this.#traits.clear();
      this.#traits.set(text, traits);
    }
    return traits;
  }

  async #runCounted<Row>(
    connection: PostgresConnection,
    ...[text, values, options]: Parameters<SqlSession["run"]>
  ): ReturnType<typeof connection.run<Row>> {
    this.#counters.statementCount += 1;
    try {
      return await connection.run<Row>(text, values, options);
    } catch (error) {
      this.#counters.statementFailedCount += 1;
      throw error;
    }
  }
}
