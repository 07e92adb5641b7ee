import type { Json } from "@holdfast/coordination";
import {
  type Abortable,
  checkPlainJson,
  hasCode,
  InvalidInputError,
  OutcomeUnknownError,
} from "@holdfast/kernel";
import { StaleFenceError } from "../errors.ts";
import type { Database, Transaction } from "../sql/database.ts";
import { quoteIdentifier } from "../sql/identifier.ts";

/** Names one effect, the same for every attempt to do it. */
export interface EffectRequest {
  /**
   * Whose effects share one fence, for example `<job>/<workflow>/<shard>`; 1 to 500 bytes of UTF-8. Effects of one
   * scope run one after another.
   */
  readonly scope: string;
  /** The effect within its scope; 1 to 500 bytes of UTF-8. */
  readonly name: string;
  /** The fence token of the lease under which this attempt works; 0 to 2^63 - 1. */
  readonly fence: bigint;
}

/** Does things in a SQL database exactly once, however often they are tried and by whomever. */
export interface Effects {
  /**
   * Runs `body` in one transaction that also stores its result; once that is committed, every later call with
   * the same scope and name gets the stored result without running `body`. What `body` does outside of `tx`
   * is not covered.
   *
   * @throws StaleFenceError (not retryable) when a larger fence was seen for the scope; nothing was written.
   * @throws OutcomeUnknownError when the answer to the commit was lost; retryable, because the same call again
   *   finds out.
   * @throws InvalidInputError (not retryable) when the result is not plain JSON, naming the path to what would be
   *   lost; nothing was written. A result of `undefined` is stored as null.
   * @throws what `body` throws, and what `Database.transaction` throws; nothing was written.
   */
  run<T extends Json>(
    request: EffectRequest,
    body: (tx: Transaction) => Promise<T>,
    options?: Abortable,
  ): Promise<T>;
  /**
   * Forgets the scope `root` and all scopes that begin with `root/`: results and fences. Call it when nobody
   * can try them any more, because a late attempt would do its effect again.
   * @returns How many results were forgotten.
   */
  forget(root: string, options?: Abortable): Promise<number>;
  /** Creates the schema and the two tables where they are missing. Safe to call from many programs at once. */
  migrate(options?: Abortable): Promise<void>;
}

/** Scope and name together must fit into one index entry of PostgreSQL (2_704 bytes). */
const NAME_MAX_BYTES = 500;
const FENCE_MAX = 2n ** 63n - 1n;

/**
 * Keeps fences and results in two small tables beside the data that the effects change.
 *
 * @param options.schema The schema of these tables, default "holdfast". `migrate` creates it.
 */
export const createEffects = (options: {
  readonly sql: Pick<Database, "query" | "transaction">;
  readonly schema?: string;
}): Effects => new SqlEffects(options.sql, options.schema ?? "holdfast");

class SqlEffects implements Effects {
  readonly #sql: Pick<Database, "query" | "transaction">;
  readonly #schema: string;
  readonly #fences: string;
  readonly #results: string;

  constructor(sql: Pick<Database, "query" | "transaction">, schema: string) {
    const quoted = quoteIdentifier(schema, "schema");
    this.#sql = sql;
    this.#schema = schema;
    this.#fences = `${quoted}.effect_fences`;
    this.#results = `${quoted}.effect_results`;
  }

  async run<T extends Json>(
    request: EffectRequest,
    body: (tx: Transaction) => Promise<T>,
    options: Abortable = {},
  ): Promise<T> {
    checkRequest(request);
    let bodyFailure: unknown;
    const watched = async (tx: Transaction): Promise<T> => {
      try {
        return await body(tx);
      } catch (error) {
        bodyFailure = error;
        throw error;
      }
    };
    try {
      return await this.#sql.transaction((tx) => this.#runOnce(tx, request, watched), options);
    } catch (error) {
      // What the body left unknown elsewhere is not found out by doing it again.
      if (error === bodyFailure || !hasCode(error, "KERNEL_OUTCOME_UNKNOWN")) throw error;
      throw new OutcomeUnknownError(`effect ${request.name} of ${request.scope}`, {
        cause: error,
        retryable: true,
      });
    }
  }

  async #runOnce<T extends Json>(
    tx: Transaction,
    request: EffectRequest,
    body: (tx: Transaction) => Promise<T>,
  ): Promise<T> {
    const { scope, name, fence } = request;
    // The row lock that this takes lasts until the end of the transaction: effects of one scope, and the
    // arrival of a newer owner, wait for each other here.
    const [held] = await tx.query<{ token: string }>(
      `INSERT INTO ${this.#fences} AS held (scope, token) VALUES ($1, $2)
       ON CONFLICT (scope) DO UPDATE SET token = greatest(held.token, excluded.token)
       RETURNING token`,
      [scope, fence],
    );
    const seen = BigInt(held?.token ?? fence);
    if (seen > fence) throw new StaleFenceError(`effect ${name} of ${scope}`, fence, seen);
    // A statement of its own: its snapshot is taken after the wait for the lock.
    const [done] = await tx.query<{ result: T }>(
      `SELECT result FROM ${this.#results} WHERE scope = $1 AND name = $2`,
      [scope, name],
    );
    if (done !== undefined) return done.result;
    const given = (await body(tx)) ?? null;
    // Inside the transaction: a result that later calls would not get takes back what the body wrote.
    checkPlainJson("result", given);
    const result = JSON.stringify(given);
    await tx.query(`INSERT INTO ${this.#results} (scope, name, token, result) VALUES ($1, $2, $3, $4)`, [
      scope,
      name,
      fence,
      result,
    ]);
    // The same value that later calls get, also where JSON changes it (a Date becomes text).
    return JSON.parse(result) as T;
  }

  async forget(root: string, options: Abortable = {}): Promise<number> {
    checkName("root", root);
    return this.#sql.transaction(async (tx) => {
      // "0" is the character after "/", so this is the range of all scopes below `root`.
      const below = `scope = $1 OR (scope >= $1 || '/' AND scope < $1 || '0')`;
      await tx.query(`DELETE FROM ${this.#fences} WHERE ${below}`, [root]);
      return (await tx.execute(`DELETE FROM ${this.#results} WHERE ${below}`, [root])).rowCount;
    }, options);
  }

  async migrate(options: Abortable = {}): Promise<void> {
    await this.#sql.transaction(async (tx) => {
      // Two programs that create the same table at once would fail, even with IF NOT EXISTS.
      await tx.query("SELECT pg_advisory_xact_lock(hashtextextended($1, 0))", [
        `holdfast effects ${this.#schema}`,
      ]);
      const [found] = await tx.query<{ exists: boolean }>(
        "SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = $1) AS exists",
        [this.#schema],
      );
      // CREATE SCHEMA IF NOT EXISTS needs a right on the database even when there is nothing to create.
      if (found?.exists !== true) await tx.query(`CREATE SCHEMA ${quoteIdentifier(this.#schema, "schema")}`);
      // Collation C: scopes are compared as bytes, which `forget` relies on. json, not jsonb, keeps a result
      // exactly as it was, including U+0000 in its texts.
      await tx.query(
        `CREATE TABLE IF NOT EXISTS ${this.#fences} (
           scope text COLLATE "C" PRIMARY KEY,
           token bigint NOT NULL);
         CREATE TABLE IF NOT EXISTS ${this.#results} (
           scope text COLLATE "C" NOT NULL,
           name text NOT NULL,
           token bigint NOT NULL,
           result json NOT NULL,
           done_at timestamptz NOT NULL DEFAULT clock_timestamp(),
           PRIMARY KEY (scope, name))`,
      );
    }, options);
  }
}

const checkRequest = ({ scope, name, fence }: EffectRequest): void => {
  checkName("scope", scope);
  checkName("name", name);
  if (fence < 0n || fence > FENCE_MAX) throw new InvalidInputError("fence", fence, `from 0 to ${FENCE_MAX}`);
};

const checkName = (field: string, value: string): void => {
  if (value.length === 0 || Buffer.byteLength(value) > NAME_MAX_BYTES || value.includes("\0")) {
    throw new InvalidInputError(field, value, `1 to ${NAME_MAX_BYTES} bytes of UTF-8 without NUL`);
  }
};
