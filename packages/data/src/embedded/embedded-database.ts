import type { PGlite } from "@electric-sql/pglite";
import { type Clock, ClosedError, deferred, type Logger } from "@holdfast/kernel";
import { EngineFailedError, PoolTimeoutError } from "../errors.ts";
import type {
  Database,
  DatabaseStats,
  Durability,
  StatementOptions,
  StatementResult,
  Transaction,
  TransactionOptions,
} from "../sql/database.ts";
import { DatabaseCounters } from "../sql/database-counters.ts";
import { quoteIdentifier } from "../sql/identifier.ts";
import { encodeParameters } from "../sql/parameter.ts";
import { runTransaction } from "../sql/run-transaction.ts";
import { Subscriptions } from "../sql/subscriptions.ts";
import { checkTimeLimit, checkTransactionLimits } from "../sql/time-limit.ts";
import { refuseInsideTransaction } from "../sql/transaction-scope.ts";
import { WaitQueue } from "../sql/wait-queue.ts";
import type { DirectoryLock } from "./directory-lock.ts";
import { EngineSession } from "./engine-session.ts";
import { Maintenance } from "./maintenance.ts";

interface EmbeddedDatabaseInit {
  readonly engine: PGlite;
  readonly directory: DirectoryLock | undefined;
  /** The data directory as the user wrote it, or "memory". */
  readonly where: string;
  readonly durability: Durability;
  readonly acquireTimeoutMs: number;
  readonly waitingMaxCount: number;
  readonly clock: Clock;
  readonly logger: Logger;
}

/** A {@link Database} over one engine with one session, which callers get in turn. */
export class EmbeddedDatabase implements Database {
  readonly kind = "embedded";
  readonly durability: Durability;
  serverVersion = "";
  readonly #init: EmbeddedDatabaseInit;
  readonly #session: EngineSession;
  readonly #waiting: WaitQueue<void>;
  readonly #counters = new DatabaseCounters();
  readonly #subscriptions: Subscriptions;
  readonly #maintenance: Maintenance;
  readonly #idle = deferred<void>();
  #busy = false;
  #closing: Promise<void> | undefined;

  private constructor(init: EmbeddedDatabaseInit) {
    const { engine, clock, logger, where } = init;
    this.#init = init;
    this.durability = init.durability;
    this.#session = new EngineSession({ engine, clock, where });
    this.#waiting = new WaitQueue({
      name: `the queue of the database in ${where}`,
      maxCount: init.waitingMaxCount,
      clock,
    });
    this.#subscriptions = new Subscriptions(logger);
    this.#maintenance = new Maintenance({
      clock,
      logger,
      run: (text) => this.#exclusively({}, () => this.#session.run(text, undefined, {})),
    });
    engine.onNotification((channel, payload) => this.#subscriptions.deliver(channel, payload));
    this.#counters.sessionOpenedCount = 1;
  }

  static async start(init: EmbeddedDatabaseInit): Promise<EmbeddedDatabase> {
    const database = new EmbeddedDatabase(init);
    const [row] = await database.query<{ server_version: string }>("SHOW server_version");
    database.serverVersion = row?.server_version ?? "";
    return database;
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
    checkTimeLimit("timeoutMs", options.timeoutMs);
    const encoded = values === undefined ? undefined : encodeParameters(values);
    return this.#exclusively({ signal: options.signal, acquireTimeoutMs: options.timeoutMs }, () =>
      this.#counted(() => this.#session.run<Row>(text, encoded, { signal: options.signal })),
    );
  }

  async transaction<T>(body: (tx: Transaction) => Promise<T>, options: TransactionOptions = {}): Promise<T> {
    refuseInsideTransaction(this, "transaction");
    checkTransactionLimits(options);
    return this.#exclusively(options, async () => {
      this.#counters.transactionCount += 1;
      const session = { run: this.#runCounted };
      return runTransaction(this, session, body, options, (end) => this.#counters.transactionEnded(end));
    });
  }

  async listen(channel: string, onPayload: (payload: string) => void): Promise<AsyncDisposable> {
    const quoted = quoteIdentifier(channel, "channel");
    const remove = this.#subscriptions.add(channel, onPayload);
    try {
      await this.query(`LISTEN ${quoted}`);
    } catch (error) {
      remove();
      throw error;
    }
    return {
      [Symbol.asyncDispose]: async () => {
        if (!remove() || this.#closing !== undefined) return;
        // Somebody may listen again while UNLISTEN waits for its turn.
        await this.#exclusively({}, async () => {
          if (!this.#subscriptions.has(channel)) await this.#session.run(`UNLISTEN ${quoted}`, undefined, {});
        });
      },
    };
  }

  stats(): DatabaseStats {
    const isOpen = this.#closing === undefined;
    return this.#counters.snapshot({
      sessionMaxCount: 1,
      sessionCount: isOpen ? 1 : 0,
      idleCount: isOpen && !this.#busy ? 1 : 0,
      busyCount: isOpen && this.#busy ? 1 : 0,
      waitingCount: this.#waiting.size,
      listenerCount: this.#subscriptions.size,
    });
  }

  close(options: { readonly graceMs?: number } = {}): Promise<void> {
    this.#closing ??= this.#close(options.graceMs ?? 5_000);
    return this.#closing;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #close(graceMs: number): Promise<void> {
    const { clock, logger, engine, directory, where } = this.#init;
    const maintenanceEnds = this.#maintenance.stop();
    if (this.#busy && graceMs > 0) {
      const timer = clock.schedule(graceMs, () => this.#idle.resolve());
      await this.#idle.promise;
      timer.cancel();
    }
    this.#waiting.refuseAll(this.#closedError());
    await maintenanceEnds;
    try {
      // A transaction that outlasted the grace is cut: its next statement is refused and nothing of it is kept.
      if (!this.#busy && !this.#session.hasFailed) await this.#session.run("CHECKPOINT", undefined, {});
      this.#session.end();
      await engine.close();
    } catch (error) {
      // What was committed is in the log already, and the next start replays it.
      logger.warn({ err: error, where }, "the embedded database did not shut down cleanly");
    } finally {
      this.#counters.sessionClosedCounts.closed = 1;
      await directory?.release();
    }
  }

  /** Gives `body` the session; waits for its turn before, and lets the next caller in afterwards. */
  async #exclusively<T>(options: TransactionOptions, body: () => Promise<T>): Promise<T> {
    if (this.#closing !== undefined) throw this.#closedError();
    options.signal?.throwIfAborted();
    if (this.#busy) await this.#waitForTurn(options);
    this.#busy = true;
    try {
      return await body();
    } finally {
      this.#maintenance.noteActivity();
      if (!this.#waiting.hand(undefined)) {
        this.#busy = false;
        if (this.#closing !== undefined) this.#idle.resolve();
      }
    }
  }

  async #waitForTurn(options: TransactionOptions): Promise<void> {
    const { clock, where } = this.#init;
    const timeoutMs = options.acquireTimeoutMs ?? this.#init.acquireTimeoutMs;
    const startedAt = clock.monotonicNow();
    try {
      await this.#waiting.wait({
        signal: options.signal,
        timeoutMs,
        onTimeout: () => {
          this.#counters.acquireTimeoutCount += 1;
          return new PoolTimeoutError(`the embedded database in ${where}`, timeoutMs, 1);
        },
      });
    } finally {
      this.#counters.acquireWaitTotalMs += clock.monotonicNow() - startedAt;
    }
  }

  readonly #runCounted: EngineSession["run"] = (text, values, options) =>
    this.#counted(() => this.#session.run(text, values, options));

  async #counted<T>(run: () => Promise<T>): Promise<T> {
    this.#counters.statementCount += 1;
    try {
      return await run();
    } catch (error) {
      this.#counters.statementFailedCount += 1;
      if (error instanceof EngineFailedError) {
        this.#init.logger.error({ err: error, where: this.#init.where }, "the embedded database crashed");
      }
      throw error;
    }
  }

  #closedError(): ClosedError {
    return new ClosedError(`the database in ${this.#init.where}`);
  }
}
