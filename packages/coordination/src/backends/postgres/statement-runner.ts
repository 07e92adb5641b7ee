import { type Abortable, ClosedError } from "@holdfast/kernel";
import type { SqlClient, SqlExecutor } from "./sql-client.ts";
import type { StatementName, Statements } from "./sql-files.ts";
import { isRolledBackConflict, toStoreError } from "./store-errors.ts";

export interface RunOptions extends Abortable {
  readonly tx?: SqlExecutor | undefined;
}

/** Statements that change nothing: when their answer is lost, nothing is in doubt. */
const READS: ReadonlySet<StatementName> = new Set<StatementName>([
  "find-existing-tasks",
  "list-leases",
  "list-schedules",
  "list-tasks",
  "next-due",
  "now",
  "queue-stats",
  "read-bounds",
  "read-entries",
  "read-lease",
  "read-settings",
  "read-states",
]);

/** How often a statement that lost against a concurrent one is run in all; each time one of the two gets through. */
const CONFLICT_ATTEMPT_COUNT = 4;

/** Runs the store's statements, one round trip each, and says in the store's terms what went wrong. */
export class StatementRunner {
  readonly #sql: SqlClient;
  readonly #statements: Statements;
  #closed = false;

  constructor(sql: SqlClient, statements: Statements) {
    this.#sql = sql;
    this.#statements = statements;
  }

  /**
   * Inside `tx` errors pass as they are: they belong to whoever runs the transaction and may retry it.
   * Outside, a statement that PostgreSQL chose as the victim of a conflict was rolled back whole, and is run again.
   * `isRepeatable`: a lost answer is no doubt, because the same call can be made again.
   */
  async run<Row extends object>(
    name: StatementName,
    values: readonly unknown[],
    options: RunOptions = {},
    { isRepeatable = false } = {},
  ): Promise<readonly Row[]> {
    options.signal?.throwIfAborted();
    if (this.#closed) throw new ClosedError("the coordination store");
    const text = this.#statements[name];
    const { tx, signal } = options;
    if (tx !== undefined) return tx.query<Row>(text, values, { signal });
    for (let attempt = 1; ; attempt += 1) {
      try {
        return await this.#sql.query<Row>(text, values, { signal });
      } catch (error) {
        if (attempt < CONFLICT_ATTEMPT_COUNT && isRolledBackConflict(error)) continue;
        throw toStoreError(name, error, { isWrite: !isRepeatable && !READS.has(name), signal });
      }
    }
  }

  async transaction<T>(body: (tx: SqlExecutor) => Promise<T>, options: Abortable = {}): Promise<T> {
    options.signal?.throwIfAborted();
    if (this.#closed) throw new ClosedError("the coordination store");
    let bodyFailure: { readonly error: unknown } | undefined;
    try {
      return await this.#sql.transaction(async (tx) => {
        bodyFailure = undefined;
        try {
          return await body(tx);
        } catch (error) {
          bodyFailure = { error };
          throw error;
        }
      }, options);
    } catch (error) {
      if (bodyFailure !== undefined && bodyFailure.error === error) throw error;
      throw toStoreError("transaction", error, { isWrite: true, signal: options.signal });
    }
  }

  /**
   * A transaction of the store's own, whose caller knows nothing of it: what fails inside, before the commit, is told
   * in the store's terms too. Nothing was changed then.
   */
  async ownTransaction<T>(
    operation: string,
    body: (tx: SqlExecutor) => Promise<T>,
    options: Abortable = {},
  ): Promise<T> {
    try {
      return await this.transaction(body, options);
    } catch (error) {
      throw toStoreError(operation, error, { isWrite: false, signal: options.signal });
    }
  }

  close(): void {
    this.#closed = true;
  }
}
