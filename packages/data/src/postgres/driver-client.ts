import type { Socket } from "node:net";
import pg from "pg";
import type { WireValue } from "../sql/parameter.ts";
import { PreparedStatements } from "../sql/prepared-statements.ts";
import { readerOf } from "../sql/result-value.ts";
import type { ResultFormat } from "../sql/session.ts";
import type { BackendKey } from "./cancel-request.ts";
import { KnownStatement, type StatementShape, shapeOf } from "./known-statement.ts";
import type { ServerAddress } from "./server-address.ts";

/** When a connection is idle, the operating system asks after this time whether the other side still exists. */
const KEEP_ALIVE_AFTER_MS = 10_000;

/**
 * Where PostgreSQL remarks that it reports a commit although no synchronous replica has confirmed it, because the
 * wait was cancelled. The remark itself is in the server's language.
 */
const UNCONFIRMED_ROUTINE = "SyncRepWaitForLSN";

export interface DriverSettings {
  readonly address: ServerAddress;
  /** 0: no limit. */
  readonly statementTimeoutMs: number;
  /** 0: no limit. */
  readonly idleInTransactionTimeoutMs: number;
  /** 0: nothing is prepared. */
  readonly preparedMaxCount: number;
}

export type DriverResult = Pick<pg.QueryResult, "rows" | "rowCount" | "command" | "fields">;

/** Told once, when the statement has ended: with an error, or with the result of the (last) statement. */
export type OnStatementEnd = (error: Error | undefined, result: DriverResult) => void;

export const NO_RESULT: DriverResult = { rows: [], rowCount: 0, command: "", fields: [] };

/** The parts of the driver that its type declarations leave out. */
interface ClientInternals {
  readonly processID: number;
  readonly secretKey: number;
  readonly connection: {
    readonly stream: Socket;
    readonly parsedStatements: Record<string, string>;
    close(message: { readonly type: "S"; readonly name: string }): void;
  };
}
interface QueryInternals {
  name?: string;
  queryMode?: "extended";
  callback: (error: Error | null | undefined, result: DriverResult | DriverResult[]) => void;
  handleCopyInResponse: (connection: CopyAnswer) => void;
}
interface CopyAnswer {
  readonly stream: Socket;
  endCopyFrom(): void;
  sendCopyFail(message: string): void;
  sync(): void;
}

/**
 * The driver `pg`, reduced to what a connection needs: statements that may be sent before the answers to earlier
 * ones have come, in the wire form of `parameter.ts`, with results read by `result-value.ts`.
 */
export class DriverClient {
  readonly #client: pg.Client & ClientInternals;
  readonly #prepared: PreparedStatements<StatementShape>;

  /** @param onEnd Called once the connection has ended or is about to, whoever ends it. */
  constructor(settings: DriverSettings, onEnd: { readonly broken: () => void; readonly gone: () => void }) {
    const { address, statementTimeoutMs, idleInTransactionTimeoutMs } = settings;
    this.#prepared = new PreparedStatements(settings.preparedMaxCount);
    this.#client = new pg.Client({
      host: address.host,
      port: address.port,
      database: address.database,
      user: address.user,
      // Anything but a function would make the driver look for a password in files and the environment.
      password: () => address.password ?? "",
      ssl: address.tls ?? false,
      pipeline: true,
      keepAlive: true,
      keepAliveInitialDelayMillis: KEEP_ALIVE_AFTER_MS,
      ...(address.applicationName === undefined ? {} : { application_name: address.applicationName }),
      ...(statementTimeoutMs > 0 ? { statement_timeout: statementTimeoutMs } : {}),
      ...(idleInTransactionTimeoutMs > 0
        ? { idle_in_transaction_session_timeout: idleInTransactionTimeoutMs }
        : {}),
      types: { getTypeParser: readerOf as unknown as typeof pg.types.getTypeParser },
    }) as pg.Client & ClientInternals;
    this.#client.on("error", onEnd.broken);
    this.#client.on("end", onEnd.gone);
  }

  get key(): BackendKey {
    return { processId: this.#client.processID, secretKey: this.#client.secretKey };
  }

  /** Whether a transaction is open, as far as the last complete answer told. */
  get isInTransaction(): boolean {
    const status = this.#client.getTransactionStatus();
    return status === "T" || status === "E";
  }

  async connect(): Promise<void> {
    await this.#client.connect();
  }

  onNotification(listener: (channel: string, payload: string) => void): void {
    this.#client.on("notification", ({ channel, payload }) => listener(channel, payload ?? ""));
  }

  /** Tells that the server gave up waiting for a synchronous replica in the statement that it answers now. */
  onUnconfirmed(listener: () => void): void {
    this.#client.on("notice", ({ routine }) => {
      if (routine === UNCONFIRMED_ROUTINE) listener();
    });
  }

  /** Without `values`, `text` may hold several statements. `extra.copyData` is what a COPY FROM STDIN reads. */
  send(
    text: string,
    values: readonly WireValue[] | undefined,
    onEnd: OnStatementEnd,
    extra: {
      readonly copyData?: Uint8Array | undefined;
      readonly format?: ResultFormat | undefined;
    } = {},
  ): void {
    const { copyData, format } = extra;
    if (values !== undefined && format === undefined) {
      const known = this.#prepared.find(text);
      if (known?.shape !== undefined) {
        this.#closeGivenUp();
        const run = new KnownStatement(text, { name: known.name, values, shape: known.shape, onEnd });
        this.#client.query(run as unknown as pg.Submittable);
        return;
      }
    }
    const prepared = values === undefined ? undefined : this.#prepared.nameFor(text);
    this.#closeGivenUp();
    // Given a text the driver copies nothing; the rest is set on the query itself.
    const query = new pg.Query(
      format === undefined ? text : formatted(text, format),
      values as unknown[] | undefined,
    ) as pg.Query & QueryInternals;
    if (prepared !== undefined) query.name = prepared.name;
    // Without parameters the driver would use the simple protocol, which prepares nothing.
    if (values !== undefined) query.queryMode = "extended";
    query.callback = (error, results) => {
      const result = (Array.isArray(results) ? results.at(-1) : results) ?? NO_RESULT;
      if (prepared !== undefined && !error) this.#prepared.learn(text, prepared.name, shapeOf(result.fields));
      onEnd(error ?? undefined, result);
    };
    // There is no data for COPY FROM STDIN. In the extended protocol the server has ignored the Sync that came
    // with the statement, so it needs another one.
    query.handleCopyInResponse = (connection) => {
      if (copyData !== undefined) {
        sendCopyData(connection, copyData);
        return;
      }
      connection.sendCopyFail("COPY FROM STDIN is not available through query()");
      if (values !== undefined) connection.sync();
    };
    this.#client.query(query as unknown as pg.Submittable);
  }

  /** Has `text` prepared anew at its next uses. */
  forgetPrepared(text: string): void {
    this.#prepared.forget(text);
  }

  /** Says goodbye and waits until the server has closed its side. */
  async end(): Promise<void> {
    await this.#client.end();
  }

  destroy(): void {
    this.#client.connection.stream.destroy();
  }

  #closeGivenUp(): void {
    for (const name of this.#prepared.takeGivenUp()) {
      this.#client.connection.close({ type: "S", name });
      delete this.#client.connection.parsedStatements[name];
    }
  }
}

const formatted = (text: string, { isArray, readerOf: own }: ResultFormat): pg.QueryConfig =>
  ({
    text,
    ...(isArray ? { rowMode: "array" } : {}),
    ...(own === undefined ? {} : { types: { getTypeParser: own } }),
  }) as pg.QueryConfig;

/** One message may have any length; the bytes go to the socket as they are, without a copy. */
const sendCopyData = (connection: CopyAnswer, data: Uint8Array): void => {
  const header = Buffer.alloc(5);
  header.write("d");
  header.writeInt32BE(data.length + 4, 1);
  connection.stream.cork();
  connection.stream.write(header);
  connection.stream.write(data);
  connection.endCopyFrom();
  connection.stream.uncork();
};
