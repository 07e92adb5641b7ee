import type {
  Database,
  DatabaseStats,
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
import { refuseInsideTransaction } from "../sql/transaction-scope.ts";
import type { PostgresConnection } from "./connection.ts";
import type { ConnectionPool } from "./connection-pool.ts";
import type { NotificationListener } from "./notification-listener.ts";

/** Statements that are run again without harm when their answer was lost: they write nothing by themselves. */
const REPEATABLE = /^\s*(select|values|table|show)\b/i;

const CLOSE_REASONS: readonly SessionCloseReason[] = [
  "broken",
  "read-only",
  "idle",
  "lifetime",
  "cancel-failed",
  "closed",
];

/** A {@link Database} over a pool of connections to one server. */
export class PostgresDatabase implements Database {
  readonly kind = "postgres";
  readonly durability = "server";
  readonly serverVersion: string;
  readonly #pool: ConnectionPool<PostgresConnection>;
  readonly #listener: NotificationListener;
  readonly #maxCount: number;
  readonly #counters = new DatabaseCounters();

  constructor(options: {
    readonly pool: ConnectionPool<PostgresConnection>;
    readonly listener: NotificationListener;
    readonly maxCount: number;
    readonly serverVersion: string;
  }) {
    this.#pool = options.pool;
    this.#listener = options.listener;
    this.#maxCount = options.maxCount;
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
    refuseInsideTransaction(this, "query");
    const encoded = values === undefined ? undefined : encodeParameters(values);
    const { signal, timeoutMs } = options;
    const repeatable =
      options.repeatable ?? (REPEATABLE.test(text) && (values !== undefined || !text.includes(";")));
    const connection = await this.#pool.acquire({ signal, timeoutMs });
    try {
      return await this.#run<Row>(connection, text, encoded, { signal, timeoutMs, repeatable });
    } finally {
      this.#pool.release(connection);
    }
  }

  async transaction<T>(body: (tx: Transaction) => Promise<T>, options: TransactionOptions = {}): Promise<T> {
    refuseInsideTransaction(this, "transaction");
    const connection = await this.#pool.acquire({
      signal: options.signal,
      timeoutMs: options.acquireTimeoutMs,
    });
    this.#counters.transactionCount += 1;
    const session: SqlSession = { run: (text, values, run) => this.#run(connection, text, values, run) };
    try {
      return await runTransaction(this, session, body, options, (end) =>
        this.#counters.transactionEnded(end),
      );
    } finally {
      this.#pool.release(connection);
    }
  }

  async listen(channel: string, onPayload: (payload: string) => void): Promise<AsyncDisposable> {
    refuseInsideTransaction(this, "listen");
    return this.#listener.listen(channel, onPayload);
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
      listenerCount: this.#listener.listenerCount,
    });
  }

  async close(options: { readonly graceMs?: number } = {}): Promise<void> {
    await Promise.all([this.#listener.close(), this.#pool.close(options.graceMs ?? 5_000)]);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #run<Row>(
    connection: PostgresConnection,
    ...[text, values, options]: Parameters<SqlSession["run"]>
  ): Promise<Awaited<ReturnType<typeof connection.run<Row>>>> {
    this.#counters.statementCount += 1;
    try {
      return await connection.run<Row>(text, values, options);
    } catch (error) {
      this.#counters.statementFailedCount += 1;
      throw error;
    }
  }
}
