import type { Abortable } from "@holdfast/kernel";

export interface StatementOptions extends Abortable {
  /**
   * Milliseconds for waiting and running together, 1 to 2^31 - 1. Default: the database's own limit. At the
   * limit the statement is cancelled on the server; the embedded database cannot interrupt a statement that
   * runs already and only stops waiting for its turn.
   */
  readonly timeoutMs?: number | undefined;
  /**
   * Says that running the statement twice does no harm, so a lost answer becomes a retryable
   * ConnectionLostError instead of an OutcomeUnknownError. Default: true for statements that start with
   * SELECT, VALUES, TABLE, SHOW or EXPLAIN, and for every statement inside a transaction.
   */
  readonly repeatable?: boolean | undefined;
}

export interface StatementResult<Row> {
  readonly rows: readonly Row[];
  /** Rows that were returned or changed; 0 for statements that count nothing. */
  readonly rowCount: number;
}

/**
 * Runs statements. With `values` (even an empty list) a statement is parsed once per connection and then
 * reused; without, the text may hold several statements separated by `;`, of which the last one's rows come
 * back.
 *
 * Values: null and undefined become NULL, arrays become SQL arrays, other objects JSON, bytes bytea, Date and
 * bigint their exact text; to store a JSON array or a bare JSON string pass `JSON.stringify(it)`. Results, the
 * same on every kind of database: int8 and numeric are decimal strings, int2, int4 and floats numbers, json
 * and jsonb parsed, timestamptz a Date (±Infinity as numbers), date, time, timestamp and interval their ISO text, bytea a Buffer,
 * arrays of these arrays; everything else text.
 */
export interface StatementRunner {
  query<Row extends object = Record<string, unknown>>(
    text: string,
    values?: readonly unknown[],
    options?: StatementOptions,
  ): Promise<readonly Row[]>;
  /** As `query`, with the number of rows that were touched. */
  execute<Row extends object = Record<string, unknown>>(
    text: string,
    values?: readonly unknown[],
    options?: StatementOptions,
  ): Promise<StatementResult<Row>>;
}

/** An open transaction. Statements run one after another in the order of the calls. */
export interface Transaction extends StatementRunner {
  /**
   * Runs one `COPY … FROM STDIN` that reads `data`, whole, and gives the number of rows. What does not fit into
   * memory at once is sent as several, which the transaction makes one.
   *
   * On a server the bytes may not be changed before the promise settles.
   */
  copyIn(text: string, data: Uint8Array, options?: StatementOptions): Promise<number>;
  /**
   * Runs `body` so that its failure undoes only what `body` did: the transaction may go on afterwards.
   * @throws what `body` throws.
   */
  savepoint<T>(body: (tx: Transaction) => Promise<T>): Promise<T>;
}

export type IsolationLevel = "read committed" | "repeatable read" | "serializable";

export interface TransactionOptions extends Abortable {
  /** Default "read committed". */
  readonly isolation?: IsolationLevel | undefined;
  /** Default false. */
  readonly readOnly?: boolean | undefined;
  /** Milliseconds to wait for a free session, 1 to 2^31 - 1. Default: the database's own limit. */
  readonly acquireTimeoutMs?: number | undefined;
  /**
   * Milliseconds that COMMIT may take, 1 to 2^31 - 1: the time in which a synchronous replica has to confirm it. At the
   * limit the wait is cancelled and the call fails with ReplicationUnconfirmedError. Default: none of its own.
   */
  readonly commitTimeoutMs?: number | undefined;
}

/**
 * `lost`: the listening connection broke, so nothing comes for now. `listening`: it is there again, and what was sent in
 * between did not come and never will: look for what changed.
 */
export type ListenInterruption = "lost" | "listening";

/** What an acknowledged commit survives. */
export type Durability =
  /** Nothing: the data goes with the process. */
  | "none"
  /** A process killed at any moment; not a power loss or a crash of the operating system. */
  | "process-crash"
  /** Also a power loss, as far as the disk keeps what it acknowledged. */
  | "power-loss"
  /** What the server is configured for (`synchronous_commit`, `fsync`, replication). */
  | "server";

/** The first six are what is now, the others count since opening. */
export interface DatabaseStats {
  /** Most sessions (connections) that may be open at once. */
  readonly sessionMaxCount: number;
  readonly sessionCount: number;
  readonly idleCount: number;
  readonly busyCount: number;
  /** Calls that wait for a session now. */
  readonly waitingCount: number;
  readonly listenerCount: number;
  readonly statementCount: number;
  readonly statementFailedCount: number;
  readonly transactionCount: number;
  readonly committedCount: number;
  readonly rolledBackCount: number;
  /** Commits whose answer was lost. */
  readonly unknownCount: number;
  /** Calls that gave up waiting for a session. */
  readonly acquireTimeoutCount: number;
  /** Sum of all waits for a session, in milliseconds. */
  readonly acquireWaitTotalMs: number;
  readonly sessionOpenedCount: number;
  /** Sessions closed, by reason. `sessionOpenedCount` = `sessionCount` + the sum of these. */
  readonly sessionClosedCounts: Readonly<Record<SessionCloseReason, number>>;
}

export type SessionCloseReason = "broken" | "read-only" | "idle" | "lifetime" | "cancel-failed" | "closed";

/**
 * One SQL database, whatever runs it. Fits the `SqlClient` of coordination, so every part of Holdfast that keeps
 * its state in SQL takes it as it is.
 *
 * Inside the body of `transaction` use only the `tx` it receives: calls on the database itself are refused
 * there with NestedUseError, on every kind of database.
 */
export interface Database extends StatementRunner, AsyncDisposable {
  readonly kind: "embedded" | "postgres" | "cluster";
  /** For example "18.6". */
  readonly serverVersion: string;
  readonly durability: Durability;
  /**
   * Runs `body` in one transaction and commits when it resolves. When it rejects, everything is rolled back.
   * @throws InvalidInputError for a limit out of its range; nothing ran.
   * @throws what `body` throws.
   * @throws TransactionAbortedError when `body` swallowed the failure of one of its statements.
   * @throws OutcomeUnknownError when the answer to COMMIT was lost. Not retryable as such.
   * @throws PoolTimeoutError, OverloadedError (both retryable) when no session was free; nothing ran.
   * @throws signal.reason when aborted before COMMIT was sent; nothing is kept.
   */
  transaction<T>(body: (tx: Transaction) => Promise<T>, options?: TransactionOptions): Promise<T>;
  /**
   * Calls `onPayload` for each NOTIFY on `channel`, after its transaction committed, until disposed. Survives
   * reconnects and failovers, but may miss what was sent meanwhile: `onInterrupted` says when.
   */
  listen(
    channel: string,
    onPayload: (payload: string) => void,
    onInterrupted?: (what: ListenInterruption) => void,
  ): Promise<AsyncDisposable>;
  stats(): DatabaseStats;
  /**
   * Takes no more calls, lets those under way finish (at most `graceMs` milliseconds, default 5_000; then
   * connections are cut), and frees everything. Idempotent.
   */
  close(options?: { readonly graceMs?: number }): Promise<void>;
}
