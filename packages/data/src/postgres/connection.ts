import {
  type Clock,
  type Deferred,
  deferred,
  type HoldfastError,
  type HoldfastErrorInit,
  type Timer,
  untilAborted,
} from "@holdfast/kernel";
import pg from "pg";
import {
  ConnectError,
  ConnectionLostError,
  ReplicationUnconfirmedError,
  StatementTimeoutError,
} from "../errors.ts";
import type { SessionCloseReason } from "../sql/database.ts";
import type { WireValue } from "../sql/parameter.ts";
import type { SessionResult, SessionRunOptions, SqlSession } from "../sql/session.ts";
import { fromServerError, isFatal, isStaleStatement } from "../sql/sql-state.ts";
import { requestCancel } from "./cancel-request.ts";
import { CANCEL_GRACE_MS, Canceller } from "./canceller.ts";
import { fromConnectFailure } from "./connect-failure.ts";
import { DriverClient, type DriverResult, type DriverSettings } from "./driver-client.ts";
import { type InFlight, toSessionResult, unknownOutcome } from "./in-flight.ts";
import { describeServer } from "./server-address.ts";

/** The server ends a statement at its own limit; only when it stays silent so much longer do we ask it to. */
const SILENCE_GRACE_MS = 5_000;
/** How long the server may take to close its side. */
const GOODBYE_TIMEOUT_MS = 1_000;
/** Nothing more is sent behind a statement that runs so long already. */
const SLOW_AFTER_MS = 5;
/** Everything in one style, whatever the server's configuration: results are read from text. */
const SESSION_SETTINGS = `
  SELECT set_config('datestyle', 'ISO, YMD', false), set_config('intervalstyle', 'postgres', false),
         set_config('bytea_output', 'hex', false), set_config('timezone', 'UTC', false),
         current_setting('server_version') AS version, current_setting('server_version_num') AS number`;

export interface ConnectionSettings extends DriverSettings {
  readonly clock: Clock;
  readonly connectTimeoutMs: number;
  /** What else is asked at once when a connection is opened, in the same round trip. */
  readonly alongside?: (connection: SqlSession) => Promise<void>;
}

/** The statement was cancelled in place of the one before it, so it did nothing: run it again elsewhere. */
export class CancelledInsteadSignal extends Error {}

/**
 * One connection to a server. Either it has one owner, who runs statements one after another, or several callers
 * share it, each with one statement that stands alone.
 */
export class PostgresConnection implements SqlSession {
  serverVersion = "";
  serverVersionNumber = 0;
  readonly #settings: ConnectionSettings;
  readonly #driver: DriverClient;
  readonly #gone = deferred<void>();
  /** In the order in which they were sent, which is that of the answers. */
  readonly #inFlight: InFlight[] = [];
  #headSince = 0;
  #closeReason: SessionCloseReason | undefined;
  readonly #canceller: Canceller;
  /** After an error the driver does not know yet whether a transaction is open. */
  #isUnsure = false;
  #silenceTimer: Timer | undefined;

  private constructor(settings: ConnectionSettings) {
    this.#settings = settings;
    this.#driver = new DriverClient(settings, {
      broken: () => this.#markClosed("broken"),
      gone: () => {
        this.#markClosed("broken");
        this.#silenceTimer?.cancel();
        this.#gone.resolve();
      },
    });
    this.#canceller = new Canceller({
      clock: settings.clock,
      inFlight: this.#inFlight,
      requestCancel: () =>
        requestCancel(settings.address, this.#driver.key, {
          clock: settings.clock,
          timeoutMs: CANCEL_GRACE_MS,
        }),
      cut: () => this.#destroy("cancel-failed"),
      exchangeNothing: async () => {
        if (this.#closeReason === undefined) await this.#exchangeNothing();
      },
    });
    this.#driver.onUnconfirmed(() => {
      const head = this.#inFlight[0];
      if (head !== undefined) head.isUnconfirmed = true;
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
      await connection.#driver.connect();
      const [{ rows }] = await Promise.all([
        connection.run<{ version: string; number: string }>(SESSION_SETTINGS, undefined, {
          repeatable: true,
        }),
        settings.alongside?.(connection),
      ]);
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

  /** Of the server's process, as pg_stat_activity shows it. */
  get processId(): number {
    return this.#driver.key.processId;
  }

  /** Resolves when the connection has ended, whoever ended it. */
  get gone(): Promise<void> {
    return this.#gone.promise;
  }

  /** Whether a transaction is open, as far as the last answer told; `settle` makes sure. */
  get isInTransaction(): boolean {
    return this.#driver.isInTransaction;
  }

  /** Whether `settle` has something to wait for. */
  get isUnsettled(): boolean {
    return this.#canceller.underWay !== undefined || this.#isUnsure;
  }

  /** Whether a statement may be sent behind those under way: they are quick, and none is given up. */
  get acceptsMore(): boolean {
    return (
      this.#closeReason === undefined &&
      this.#canceller.underWay === undefined &&
      !this.#inFlight.some(({ isGivenUp }) => isGivenUp) &&
      (this.#inFlight.length === 0 || this.#settings.clock.monotonicNow() - this.#headSince < SLOW_AFTER_MS)
    );
  }

  onNotification(listener: (channel: string, payload: string) => void): void {
    this.#driver.onNotification(listener);
  }

  run<Row>(
    text: string,
    values: readonly WireValue[] | undefined,
    options: SessionRunOptions,
  ): Promise<SessionResult<Row>> {
    // A cancel on its way must not hit what comes after the statement that it is meant for.
    const cancelling = this.#canceller.underWay;
    if (cancelling !== undefined) {
      return untilAborted(cancelling, options.signal).then(() => this.run(text, values, options));
    }
    if (options.signal?.aborted) return Promise.reject(options.signal.reason);
    if (this.#closeReason !== undefined && this.#closeReason !== "read-only") {
      return Promise.reject(this.#lost({ details: { wasSent: false } }));
    }
    const outcome = deferred<SessionResult<Row>>();
    const statement: InFlight = {
      text,
      values,
      copyData: options.copyData,
      format: options.format,
      isRepeatable: options.repeatable === true,
      sentAt: this.#settings.clock.monotonicNow(),
      outcome: outcome as Deferred<SessionResult<unknown>>,
      isSentAgain: false,
      isGivenUp: false,
      timedOutAfterMs: undefined,
      isExposed: false,
      isUnconfirmed: false,
      stopWatching: undefined,
    };
    if (options.signal !== undefined || options.timeoutMs !== undefined) this.#watch(statement, options);
    this.#send(statement);
    return outcome.promise;
  }

  /** Waits until nothing runs any more after an error or a statement that was given up. The connection may be closed then. */
  async settle(): Promise<void> {
    await this.#canceller.underWay;
    if (this.#isUnsure && this.#closeReason === undefined) await this.#exchangeNothing();
  }

  async rollBack(): Promise<void> {
    try {
      await this.run("ROLLBACK", undefined, { timeoutMs: CANCEL_GRACE_MS, repeatable: true });
    } catch {
      this.#markClosed("broken");
    }
  }

  /** Ends the connection politely; what runs on it is cut, and so is a server that does not answer. */
  async close(reason: SessionCloseReason): Promise<void> {
    this.#markClosed(reason);
    if (this.#inFlight.length > 0) this.#destroy(reason);
    const timer = this.#settings.clock.schedule(GOODBYE_TIMEOUT_MS, () => this.#destroy(reason));
    try {
      await this.#driver.end();
    } catch {
      this.#destroy(reason);
    } finally {
      timer.cancel();
    }
  }

  /** It works, but is not to be lent again. */
  giveUp(): void {
    this.#markClosed("closed");
  }

  #send(statement: InFlight): void {
    if (this.#inFlight.push(statement) === 1) this.#headSince = statement.sentAt;
    this.#driver.send(
      statement.text,
      statement.values,
      (error, result) => this.#onEnd(statement, error, result),
      statement,
    );
    this.#watchForSilence();
  }

  #watch(statement: InFlight, { signal, timeoutMs }: SessionRunOptions): void {
    const onAbort = (): void => {
      statement.outcome.reject(signal?.reason);
      this.#giveUp(statement);
    };
    signal?.addEventListener("abort", onAbort, { once: true });
    const timer =
      timeoutMs === undefined
        ? undefined
        : this.#settings.clock.schedule(timeoutMs, () => this.#timeOut(statement, timeoutMs));
    statement.stopWatching = () => {
      timer?.cancel();
      signal?.removeEventListener("abort", onAbort);
    };
  }

  #onEnd(statement: InFlight, error: Error | undefined, result: DriverResult): void {
    const index = this.#inFlight.indexOf(statement);
    if (index >= 0) this.#inFlight.splice(index, 1);
    if (index === 0) this.#headSince = this.#settings.clock.monotonicNow();
    this.#isUnsure = error !== undefined;
    if (error !== undefined && this.#mayBeSentAgain(statement, error)) {
      statement.isSentAgain = true;
      this.#send(statement);
      return;
    }
    statement.stopWatching?.();
    if (error === undefined && statement.isUnconfirmed) {
      statement.outcome.reject(new ReplicationUnconfirmedError(describeServer(this.#settings.address)));
    } else if (error === undefined) statement.outcome.resolve(toSessionResult(statement, result));
    else statement.outcome.reject(this.#typed(statement, error));
    this.#canceller.wake();
  }

  /** A stale prepared statement was not run; outside a transaction it can be prepared anew. */
  #mayBeSentAgain(statement: InFlight, error: Error): boolean {
    if (statement.values === undefined || !(error instanceof pg.DatabaseError) || !isStaleStatement(error)) {
      return false;
    }
    this.#driver.forgetPrepared(statement.text);
    return !this.isInTransaction && !statement.isSentAgain && !statement.isGivenUp;
  }

  #typed(statement: InFlight, error: Error): unknown {
    if (!(error instanceof pg.DatabaseError) || isFatal(error)) {
      this.#markClosed("broken");
      return statement.isRepeatable ? this.#lost({ cause: error }) : unknownOutcome(statement.text, error);
    }
    if (error.code === "25006") this.#markClosed("read-only");
    // Class 08 is trouble with a connection. It may be another one (a foreign server's), but ours costs little to replace.
    if (error.code?.startsWith("08")) this.#markClosed("broken");
    if (error.code !== "57014") return fromServerError(error);
    const { clock, statementTimeoutMs } = this.#settings;
    // The server's clock started a little after ours.
    const isPastLimit =
      statementTimeoutMs > 0 && clock.monotonicNow() - statement.sentAt >= statementTimeoutMs;
    const limitMs = statement.timedOutAfterMs ?? (isPastLimit ? statementTimeoutMs : undefined);
    if (limitMs !== undefined) return new StatementTimeoutError(limitMs, { cause: error });
    return statement.isExposed ? new CancelledInsteadSignal() : fromServerError(error);
  }

  #timeOut(statement: InFlight, limitMs: number): void {
    statement.timedOutAfterMs = limitMs;
    this.#giveUp(statement);
  }

  /** A server that does not enforce its limit is asked to; a dead one ends with its connection. One timer for all statements. */
  #watchForSilence(): void {
    const { clock, statementTimeoutMs } = this.#settings;
    if (this.#silenceTimer !== undefined || statementTimeoutMs === 0) return;
    const limitMs = statementTimeoutMs + SILENCE_GRACE_MS;
    const look = (): void => {
      this.#silenceTimer = undefined;
      const head = this.#inFlight[0];
      if (head === undefined) return;
      const leftMs = this.#headSince + limitMs - clock.monotonicNow();
      if (leftMs <= 0) this.#timeOut(head, statementTimeoutMs);
      else this.#silenceTimer = clock.schedule(leftMs, look, { unref: true });
    };
    this.#silenceTimer = clock.schedule(limitMs, look, { unref: true });
  }

  #giveUp(statement: InFlight): void {
    statement.isGivenUp = true;
    this.#canceller.begin();
  }

  /** One round trip that does nothing. A failure, also to answer soon, shows in `closeReason`. */
  async #exchangeNothing(): Promise<void> {
    const timer = this.#settings.clock.schedule(CANCEL_GRACE_MS, () => this.#destroy("broken"));
    const answered = deferred<void>();
    this.#driver.send("", undefined, (error) => {
      if (error === undefined) this.#isUnsure = false;
      else if (!(error instanceof pg.DatabaseError)) this.#markClosed("broken");
      answered.resolve();
    });
    await answered.promise;
    timer.cancel();
  }

  #lost(init: HoldfastErrorInit): HoldfastError {
    return new ConnectionLostError(describeServer(this.#settings.address), init);
  }

  #markClosed(reason: SessionCloseReason): void {
    this.#closeReason ??= reason;
  }

  #destroy(reason: SessionCloseReason): void {
    this.#markClosed(reason);
    this.#driver.destroy();
  }
}
