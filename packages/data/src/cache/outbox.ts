import type { Abortable } from "@holdfast/kernel";
import type { Database, StatementRunner } from "../sql/database.ts";
import { quoteIdentifier } from "../sql/identifier.ts";

/** An invalidation that was committed with the change it belongs to. */
export interface OutboxRow {
  readonly id: string;
  readonly keys: readonly string[];
  readonly tags: readonly string[];
}

/** Rows that one look takes. */
const BATCH_MAX_COUNT = 500;

/**
 * Invalidations, stored by the transactions that make them necessary. The writer does what it stored and removes it;
 * what a dead writer left is found by the relay of any process.
 */
export class Outbox {
  readonly #sql: Pick<Database, "query" | "transaction">;
  readonly #schema: string;
  readonly #table: string;
  readonly #cache: string;

  constructor(options: {
    readonly sql: Pick<Database, "query" | "transaction">;
    readonly schema: string;
    readonly cache: string;
  }) {
    this.#sql = options.sql;
    this.#schema = options.schema;
    this.#table = `${quoteIdentifier(options.schema, "schema")}.cache_outbox`;
    this.#cache = options.cache;
  }

  async add(
    tx: StatementRunner,
    change: { readonly keys: readonly string[]; readonly tags: readonly string[] },
  ): Promise<string> {
    const [row] = await tx.query<{ id: string }>(
      `INSERT INTO ${this.#table} (cache, change) VALUES ($1, $2) RETURNING id`,
      [this.#cache, JSON.stringify({ k: change.keys, t: change.tags })],
    );
    return row?.id ?? "0";
  }

  /** What is at least `ageMs` old: a younger row is still its writer's. */
  async left(ageMs: number, options: Abortable = {}): Promise<readonly OutboxRow[]> {
    const rows = await this.#sql.query<{ id: string; change: { k: string[]; t: string[] } }>(
      `SELECT id, change FROM ${this.#table}
       WHERE cache = $1 AND created_at <= clock_timestamp() - $2::float8 * interval '1 ms'
       ORDER BY id LIMIT ${BATCH_MAX_COUNT}`,
      [this.#cache, ageMs],
      options,
    );
    return rows.map(({ id, change }) => ({ id, keys: change.k, tags: change.t }));
  }

  async stillThere(ids: readonly string[], options: Abortable = {}): Promise<readonly string[]> {
    const rows = await this.#sql.query<{ id: string }>(
      `SELECT id FROM ${this.#table} WHERE id = ANY($1::bigint[])`,
      [ids],
      options,
    );
    return rows.map(({ id }) => id);
  }

  async remove(ids: readonly string[], options: Abortable = {}): Promise<void> {
    await this.#sql.query(`DELETE FROM ${this.#table} WHERE id = ANY($1::bigint[])`, [ids], {
      ...options,
      repeatable: true,
    });
  }

  async migrate(options: Abortable = {}): Promise<void> {
    await this.#sql.transaction(async (tx) => {
      // Two programs that create the same table at once would fail, even with IF NOT EXISTS.
      await tx.query("SELECT pg_advisory_xact_lock(hashtextextended($1, 0))", [
        `holdfast cache ${this.#schema}`,
      ]);
      const [found] = await tx.query<{ exists: boolean }>(
        "SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = $1) AS exists",
        [this.#schema],
      );
      if (found?.exists !== true) await tx.query(`CREATE SCHEMA ${quoteIdentifier(this.#schema, "schema")}`);
      await tx.query(
        `CREATE TABLE IF NOT EXISTS ${this.#table} (
           id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
           cache text NOT NULL,
           change json NOT NULL,
           created_at timestamptz NOT NULL DEFAULT clock_timestamp())`,
      );
    }, options);
  }
}
