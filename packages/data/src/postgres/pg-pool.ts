import { InvalidInputError } from "@holdfast/kernel";
import type { Database, DatabaseStats } from "../sql/database.ts";
import { encodeParameters } from "../sql/parameter.ts";
import type { ResultFormat } from "../sql/session.ts";
import { refuseInsideTransaction } from "../sql/transaction-scope.ts";
import type { Lease } from "./postgres-database.ts";

/** What a pool of `pg` takes in place of a text. What is not here has no effect. */
export interface PgQueryConfig {
  readonly text: string;
  readonly values?: readonly unknown[] | undefined;
  /** "array": rows are arrays of columns. */
  readonly rowMode?: string | undefined;
  /** Readers of the caller's own for column values. */
  readonly types?: { readonly getTypeParser: (oid: number, format?: string) => unknown } | undefined;
}

/** The commands that libraries look for; the server knows more, and their words come as they are. */
type PgCommand = "SELECT" | "INSERT" | "UPDATE" | "DELETE" | "MERGE" | "COMMIT" | "ROLLBACK";

/** The cursor of `pg-cursor`, which our connections do not take. */
export interface PgCursor<Row> {
  read(rowCount: number): Promise<Row[]>;
  close(): Promise<void>;
}

export interface PgQueryResult<Row> {
  readonly rows: Row[];
  readonly rowCount: number;
  readonly command: PgCommand;
  readonly fields: readonly { readonly name: string; readonly dataTypeID: number }[];
}

/** The databases that lend connections. */
interface Lender extends Database {
  lease(options: { readonly timeoutMs?: number | undefined }): Promise<Lease>;
}

/**
 * One of our pools with the face of a `pg.Pool`, for libraries that expect one: Kysely's `PostgresDialect({ pool })`
 * and Drizzle's `drizzle({ client: pool })` run on it as they are. Connections lead to the primary, are verified,
 * limited and counted as all others; errors are ours, with the driver's as `cause`.
 *
 * What `pg` offers beyond `connect`, `query`, `release` and `end` is not there: cursors, streams, events.
 */
export class PgPool {
  /** For libraries that open another connection of the same kind; there is nothing to tell. */
  readonly options = {};
  readonly #database: Lender;
  readonly #closesDatabase: boolean;

  /**
   * @param options.closesDatabase Whether `end` closes the database too. Default false: it was opened by somebody else.
   * @throws InvalidInputError for the embedded database, which has one session and lends none.
   */
  constructor(database: Database, options: { readonly closesDatabase?: boolean | undefined } = {}) {
    if (!("lease" in database)) {
      throw new InvalidInputError("database", database.kind, "one that openPostgres or openCluster gave");
    }
    this.#database = database as Lender;
    this.#closesDatabase = options.closesDatabase ?? false;
  }

  get totalCount(): number {
    return this.#stats.sessionCount;
  }

  get idleCount(): number {
    return this.#stats.idleCount;
  }

  get waitingCount(): number {
    return this.#stats.waitingCount;
  }

  /** Lends a connection to the caller until `release`. @throws what a transaction of the database throws before its body. */
  async connect(): Promise<PgPoolClient> {
    refuseInsideTransaction(this.#database, "connect");
    return new PgPoolClient(await this.#database.lease({}));
  }

  async query<Row = Record<string, unknown>>(
    config: string | PgQueryConfig,
    values?: readonly unknown[],
  ): Promise<PgQueryResult<Row>> {
    const client = await this.connect();
    try {
      return await client.query<Row>(config, values);
    } finally {
      client.release();
    }
  }

  async end(): Promise<void> {
    if (this.#closesDatabase) await this.#database.close();
  }

  get #stats(): DatabaseStats {
    return this.#database.stats();
  }
}

/** A lent connection. */
export class PgPoolClient {
  readonly #lease: Lease;

  constructor(lease: Lease) {
    this.#lease = lease;
  }

  /** The server process behind it. */
  get processID(): number {
    return this.#lease.connection.processId;
  }

  /** @throws the errors of `Database.query`; OutcomeUnknownError when the answer to a write or to COMMIT was lost. */
  query<Row = Record<string, unknown>>(
    config: string | PgQueryConfig,
    values?: readonly unknown[],
  ): Promise<PgQueryResult<Row>>;
  /** @throws InvalidInputError always: there are no cursors here. */
  query<Row>(cursor: PgCursor<Row>): never;
  query<Row>(
    config: string | PgQueryConfig | PgCursor<Row>,
    values?: readonly unknown[],
  ): Promise<PgQueryResult<Row>> {
    if (typeof config !== "string" && "read" in config) {
      throw new InvalidInputError(
        "query",
        "a cursor",
        "a text or { text, values }: use LIMIT, or DECLARE and FETCH",
      );
    }
    const { text, values: own, ...rest } = typeof config === "string" ? { text: config } : config;
    return this.#run<Row>(text, values ?? own, formatOf(rest));
  }

  /** Gives it back; with `true` (or an error) it is not lent again. */
  release(destroy?: boolean | Error): void {
    if (destroy !== undefined && destroy !== false) this.#lease.discard();
    else this.#lease.release();
  }

  async #run<Row>(
    text: string,
    values: readonly unknown[] | undefined,
    format: ResultFormat,
  ): Promise<PgQueryResult<Row>> {
    const isSingle = values !== undefined && values.length > 0;
    const result = await this.#lease.session.run<Row>(text, isSingle ? encodeParameters(values) : undefined, {
      format,
      repeatable: /^\s*(select|values|table|show|begin|start|rollback)\b/i.test(text),
    });
    return {
      rows: result.rows as Row[],
      rowCount: result.rowCount,
      command: result.command as PgCommand,
      fields: result.fields ?? [],
    };
  }
}

const formatOf = ({ rowMode, types }: Pick<PgQueryConfig, "rowMode" | "types">): ResultFormat => ({
  isArray: rowMode === "array",
  readerOf:
    types === undefined ? undefined : (oid) => types.getTypeParser(oid, "text") as (text: string) => unknown,
});
