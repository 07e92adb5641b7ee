import type { Socket } from "node:net";
import { type Clock, deferred, type HoldfastError, OutcomeUnknownError, type Timer } from "@holdfast/kernel";
import pg from "pg";
import { ConnectError, ConnectionLostError, StatementTimeoutError } from "../errors.ts";
import type { SessionCloseReason } from "../sql/database.ts";
import type { WireValue } from "../sql/parameter.ts";
import { PreparedStatements } from "../sql/prepared-statements.ts";
import { readerOf } from "../sql/result-value.ts";
import type { SessionResult, SessionRunOptions, SqlSession } from "../sql/session.ts";
import { fromServerError, isFatal, isStaleStatement } from "../sql/sql-state.ts";
import { requestCancel } from "./cancel-request.ts";
import { fromConnectFailure } from "./connect-failure.ts";
import { describeServer, type ServerAddress } from "./server-address.ts";

/** How long a cancelled statement may take to end before the connection is cut. */
const CANCEL_GRACE_MS = 5_000;
/** The server ends a statement at its own limit; only when it stays silent so much longer do we ask it to. */
const SILENCE_GRACE_MS = 5_000;
/** How long the server may take to close its side. */
const GOODBYE_TIMEOUT_MS = 1_000;
/** When a connection is idle, the operating system asks after this time whether the other side still exists. */
const KEEP_ALIVE_AFTER_MS = 10_000;

/** Everything in one style, whatever the server's configuration: results are read from text. */
const SESSION_SETTINGS = `
  SELECT set_config('datestyle', 'ISO, YMD', false), set_config('intervalstyle', 'postgres', false),
         set_config('bytea_output', 'hex', false), set_config('timezone', 'UTC', false),
         current_setting('server_version') AS version, current_setting('server_version_num') AS number`;

export interface ConnectionSettings {
  readonly address: ServerAddress;
  readonly clock: Clock;
  readonly connectTimeoutMs: number;
  /** 0: no limit. */
  readonly statementTimeoutMs: number;
  /** 0: no limit. */
  readonly idleInTransactionTimeoutMs: number;
  readonly preparedMaxCount: number;
}

/** The parts of pg's client that its type declarations leave out. */
interface ClientInternals {
  readonly processID: number;
  readonly secretKey: number;
  readonly connection: {
    readonly stream: Socket;
    readonly parsedStatements: Record<string, string>;
    close(message: { readonly type: "S"; readonly name: string }): void;
  };
}

type Result = Pick<pg.QueryResult, "rows" | "rowCount" | "command">;

/** One connection to a server. Used by one owner at a time, statements one after another. */
export class PostgresConnection implements SqlSession {
  readonly openedAt: number;
  serverVersion = "";
  serverVersionNumber = 0;
  readonly #client: pg.Client & ClientInternals;
  readonly #settings: ConnectionSettings;
  readonly #prepared: PreparedStatements;
  readonly #gone = deferred<void>();
  #closeReason: SessionCloseReason | undefined;
  /** The end of a statement that was given up, while the server has not told it. */
  #givenUp: Promise<void> | undefined;
  /** After an error the driver does not know yet whether a transaction is open. */
  #isUnsure = false;

  private constructor(settings: ConnectionSettings) {
    const { address } = settings;
    this.#settings = settings;
    this.openedAt = settings.clock.monotonicNow();
    this.#prepared = new PreparedStatements(settings.preparedMaxCount);
    this.#client = new pg.Client({
      host: address.host,
      port: address.port,
      database: address.database,
      user: address.user,
      // Anything but a string would make the driver look for one in files and the environment.
      password: () => address.password ?? "",
      ssl: address.tls ?? false,
      keepAlive: true,
      keepAliveInitialDelayMillis: KEEP_ALIVE_AFTER_MS,
      ...(address.applicationName === undefined ? {} : { application_name: address.applicationName }),
      ...(settings.statementTimeoutMs > 0 ? { statement_timeout: settings.statementTimeoutMs } : {}),
      ...(settings.idleInTransactionTimeoutMs > 0
        ? { idle_in_transaction_session_timeout: settings.idleInTransactionTimeoutMs }
        : {}),
      types: { getTypeParser: readerOf as unknown as typeof pg.types.getTypeParser },
    }) as pg.Client & ClientInternals;
    this.#client.on("error", () => this.#markClosed("broken"));
    this.#client.on("end", () => {
      this.#markClosed("broken");
      this.#gone.resolve();
    });
  }

  /**
   * @throws ConnectError (retryable), AuthenticationError (not retryable); never with the password.
   * @throws signal.reason when aborted.
   */
  static async open(settings: ConnectionSettings, signal: AbortSignal): Promise<PostgresConnection> {
    signal.throwIfAborted();
    const connection = new PostgresConnection(settings);
    const { clock, address, connectTimeoutMs } = settings;
    let cause: unknown;
    const cut = (reason: unknown): void => {
      cause = reason;
      connection.#destroy("broken");
    };
    const timer = clock.schedule(connectTimeoutMs, () =>
      cut(new ConnectError(describeServer(address), `no answer within ${connectTimeoutMs} ms`)),
    );
    const onAbort = (): void => cut(signal.reason);
    signal.addEventListener("abort", onAbort, { once: true });
    try {
      await connection.#client.connect();
      const { rows } = (await connection.#client.query(SESSION_SETTINGS)) as pg.QueryResult<{
        version: string;
        number: string;
      }>;
      connection.serverVersion = rows[0]?.version.split(" ")[0] ?? "";
      connection.serverVersionNumber = Number(rows[0]?.number);
      return connection;
    } catch (error) {
      connection.#destroy("broken");
      throw cause ?? fromConnectFailure(error, address);
    } finally {
      timer.cancel();
      signal.removeEventListener("abort", onAbort);
    }
  }

  /** Why the connection must not be used any more; undefined while it is good. */
  get closeReason(): SessionCloseReason | undefined {
    return this.#closeReason;
  }

  /** Resolves when the connection has ended, whoever ended it. */
  get gone(): Promise<void> {
    return this.#gone.promise;
  }

  /** Whether a transaction is open, as far as the last answer told; `settle` makes sure. */
  get isInTransaction(): boolean {
    const status = this.#client.getTransactionStatus();
    return status === "T" || status === "E";
  }

  /** Whether `settle` has something to wait for. */
  get isUnsettled(): boolean {
    return this.#givenUp !== undefined || this.#isUnsure;
  }

  onNotification(listener: (channel: string, payload: string) => void): void {
    this.#client.on("notification", ({ channel, payload }) => listener(channel, payload ?? ""));
  }

  async run<Row>(
    text: string,
    values: readonly WireValue[] | undefined,
    options: SessionRunOptions,
  ): Promise<SessionResult<Row>> {
    try {
      return await this.#attempt<Row>(text, values, options);
    } catch (error) {
      // A stale statement was not run; outside a transaction it can be prepared again and run now.
      if (!(error instanceof StaleStatementSignal)) throw error;
      if (this.isInTransaction) throw fromServerError(error.serverError);
      return this.#attempt<Row>(text, values, options);
    }
  }

  /** Waits until nothing runs any more after an error or a statement that was given up. The connection may be closed then. */
  async settle(): Promise<void> {
    await this.#givenUp;
    if (this.#isUnsure && this.#closeReason === undefined) await this.#exchangeNothing();
  }

  async rollBack(): Promise<void> {
    try {
      await this.run("ROLLBACK", undefined, { repeatable: true });
    } catch {
      this.#markClosed("broken");
    }
  }

  /** Ends the connection politely; what runs on it is cut, and so is a server that does not answer. */
  async close(reason: SessionCloseReason): Promise<void> {
    this.#markClosed(reason);
    const timer = this.#settings.clock.schedule(GOODBYE_TIMEOUT_MS, () => this.#destroy(reason));
    try {
      await this.#client.end();
    } catch {
      this.#destroy(reason);
    } finally {
      timer.cancel();
    }
  }

  async #attempt<Row>(
    text: string,
    values: readonly WireValue[] | undefined,
    options: SessionRunOptions,
  ): Promise<SessionResult<Row>> {
    const { signal } = options;
    signal?.throwIfAborted();
    if (this.#closeReason === "broken" || this.#closeReason === "cancel-failed") throw this.#lost(undefined);
    const { clock, statementTimeoutMs } = this.#settings;
    const startedAt = clock.monotonicNow();
    const ended = deferred<void>();
    const outcome = deferred<Result>();
    const timeoutMs =
      options.timeoutMs ?? (statementTimeoutMs > 0 ? statementTimeoutMs + SILENCE_GRACE_MS : undefined);
    let isTimedOut = false;
    let timer: Timer | undefined;
    const onAbort = (): void => {
      outcome.reject(signal?.reason);
      this.#giveUp(ended.promise);
    };
    if (timeoutMs !== undefined) {
      timer = clock.schedule(timeoutMs, () => {
        isTimedOut = true;
        this.#giveUp(ended.promise);
      });
    }
    signal?.addEventListener("abort", onAbort, { once: true });
    this.#send(text, values, (error, result) => {
      timer?.cancel();
      signal?.removeEventListener("abort", onAbort);
      if (error === null || error === undefined) {
        this.#isUnsure = false;
        ended.resolve();
        outcome.resolve(result);
        return;
      }
      this.#isUnsure = true;
      const limitMs = isTimedOut ? timeoutMs : this.#serverLimit(startedAt);
      const typed = this.#typed(error, text, values !== undefined, limitMs, options.repeatable === true);
      ended.resolve();
      outcome.reject(typed);
    });
    const { rows, rowCount, command } = await outcome.promise;
    return { rows: rows as Row[], rowCount: rowCount ?? 0, command };
  }

  #send(
    text: string,
    values: readonly WireValue[] | undefined,
    onEnd: (error: Error | null | undefined, result: Result) => void,
  ): void {
    const onResult = (error: Error | null | undefined, result: Result | Result[]): void => {
      const last = Array.isArray(result) ? result.at(-1) : result;
      onEnd(error, last ?? NO_RESULT);
    };
    if (values === undefined) {
      this.#client.query(text, onResult as Parameters<pg.Client["query"]>[1] & (() => void));
      return;
    }
    const prepared = this.#prepared.nameFor(text);
    for (const name of this.#prepared.takeGivenUp()) {
      this.#client.connection.close({ type: "S", name });
      delete this.#client.connection.parsedStatements[name];
    }
    const query = new pg.Query({
      text,
      values: [...values],
      ...(prepared === undefined ? {} : { name: prepared.name }),
      // Without parameters the driver would use the simple protocol, which prepares nothing.
      queryMode: "extended",
    } as pg.QueryConfig) as pg.Query & {
      callback: typeof onResult;
      handleCopyInResponse: typeof refuseCopy;
    };
    query.callback = onResult;
    query.handleCopyInResponse = refuseCopy;
    this.#client.query(query as unknown as pg.Submittable);
  }

  /** Milliseconds of the server's own limit when it has passed since `startedAt`. */
  #serverLimit(startedAt: number): number | undefined {
    const { clock, statementTimeoutMs } = this.#settings;
    // The server's clock started a little after ours.
    return statementTimeoutMs > 0 && clock.monotonicNow() - startedAt >= statementTimeoutMs
      ? statementTimeoutMs
      : undefined;
  }

  #typed(
    error: Error,
    text: string,
    isExtended: boolean,
    limitMs: number | undefined,
    isRepeatable: boolean,
  ): unknown {
    if (!(error instanceof pg.DatabaseError)) {
      this.#markClosed("broken");
      return isRepeatable ? this.#lost(error) : unknownOutcome(text, error);
    }
    if (isFatal(error)) {
      this.#markClosed("broken");
      return isRepeatable ? this.#lost(error) : unknownOutcome(text, error);
    }
    if (isExtended && isStaleStatement(error)) {
      this.#prepared.forget(text);
      return new StaleStatementSignal(error);
    }
    if (error.code === "25006") this.#markClosed("read-only");
    if (error.code === "57014" && limitMs !== undefined)
      return new StatementTimeoutError(limitMs, { cause: error });
    return fromServerError(error);
  }

  /** Asks the server to cancel, and cuts the connection when the statement does not end soon. */
  #giveUp(ended: Promise<void>): void {
    const end = async (): Promise<void> => {
      const { address, clock } = this.#settings;
      const timer = clock.schedule(CANCEL_GRACE_MS, () => this.#destroy("cancel-failed"));
      try {
        await requestCancel(
          address,
          { processId: this.#client.processID, secretKey: this.#client.secretKey },
          { clock, timeoutMs: CANCEL_GRACE_MS },
        );
        await ended;
        // The statement may have ended by itself before the cancel came; let that hit a statement of nobody.
        if (this.#closeReason === undefined) await this.#exchangeNothing();
      } finally {
        timer.cancel();
        this.#givenUp = undefined;
      }
    };
    this.#givenUp ??= end();
  }

  /** One round trip that does nothing. A failure, also to answer soon, shows in `closeReason`. */
  async #exchangeNothing(): Promise<void> {
    const timer = this.#settings.clock.schedule(CANCEL_GRACE_MS, () => this.#destroy("broken"));
    try {
      await this.#client.query("");
      this.#isUnsure = false;
    } catch (error) {
      if (!(error instanceof pg.DatabaseError)) this.#markClosed("broken");
    } finally {
      timer.cancel();
    }
  }

  #lost(cause: unknown): HoldfastError {
    return new ConnectionLostError(describeServer(this.#settings.address), { cause });
  }

  #markClosed(reason: SessionCloseReason): void {
    this.#closeReason ??= reason;
  }

  #destroy(reason: SessionCloseReason): void {
    this.#markClosed(reason);
    this.#client.connection.stream.destroy();
  }
}

const NO_RESULT: Result = { rows: [], rowCount: 0, command: "" };

/**
 * Answers COPY FROM STDIN, for which there is no data. The server has ignored the Sync that came with the
 * statement, so it needs another one.
 */
const refuseCopy = (connection: CopyRefusal): void => {
  connection.sendCopyFail("COPY FROM STDIN is not available through query()");
  connection.sync();
};

interface CopyRefusal {
  sendCopyFail(message: string): void;
  sync(): void;
}

/** Carries a server error from one attempt to the next; never leaves this file. */
class StaleStatementSignal extends Error {
  readonly serverError: pg.DatabaseError;

  constructor(serverError: pg.DatabaseError) {
    super(serverError.message);
    this.serverError = serverError;
  }
}

const unknownOutcome = (text: string, cause: unknown): OutcomeUnknownError =>
  new OutcomeUnknownError(/[a-z]+/i.exec(text)?.[0].toUpperCase() ?? "statement", { cause });
