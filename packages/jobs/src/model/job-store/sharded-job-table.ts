import type { SqlClient, SqlExecutor } from "@holdfast/coordination/postgres";
import { type Abortable, assert } from "@holdfast/kernel";
import type { JobStatus } from "@holdfast/protocol/contract";
import type {
  InsertOutcome,
  JobFilter,
  JobRow,
  JobTable,
  JobUpdate,
  NewJobRow,
  PurgedJob,
} from "../job-table.ts";
import { checkLimit } from "./checks.ts";
import {
  existingOutcomes,
  insertedOutcome,
  insertRows,
  isTerminal,
  type KeyedRows,
  keyedRows,
  type PurgedRow,
  type SqlRow,
  toJobRow,
  toPurgedJob,
  updateRows,
} from "./job-rows.ts";
import { type ShardedStatements, shardedStatements } from "./sharded-job-statements.ts";
import { SqlJobTable } from "./sql-job-table.ts";

/**
 * `JobTable` over jobs that are spread by job, with their idempotency keys in a table of their own. Nothing is locked
 * across nodes, which Citus cannot: whoever changes a row names what he saw of it, and changes nothing when that is no
 * longer so.
 */
export class ShardedJobTable implements JobTable<SqlExecutor> {
  readonly #plain: SqlJobTable;
  readonly #statements: ShardedStatements;
  readonly #onInserted: (count: number) => void;

  /** @param options.onInserted Hears how many rows a statement added; the transaction may still be rolled back. */
  constructor(
    client: SqlClient,
    schema: string,
    options: { readonly onInserted?: (count: number) => void } = {},
  ) {
    this.#plain = new SqlJobTable(client, schema);
    this.#statements = shardedStatements(schema);
    this.#onInserted = options.onInserted ?? (() => undefined);
  }

  async insert(rows: readonly NewJobRow[], tx: SqlExecutor): Promise<readonly InsertOutcome[]> {
    if (rows.length === 0) return [];
    const keyed = keyedRows(rows);
    const { keys } = keyed;
    const insertedAt = await insertRows(this.#statements.insert, keyed, tx);
    // A second row with this key in the same call is a duplicate of the first.
    const fresh = new Map<string, number>();
    keys.forEach((key, index) => {
      if (insertedAt.has(key) && !fresh.has(key)) fresh.set(key, index);
    });
    const kept = await this.#keepSubmissions([...fresh.values()], keyed, tx);
    this.#onInserted(kept.size);
    const missing = rows.flatMap((_, index) => (kept.has(index) ? [] : [index]));
    const existing = await existingOutcomes(this.#statements.existing, keyed, missing, tx);
    return rows.map(
      (row, index) => existing.get(index) ?? insertedOutcome(row, insertedAt.get(keys[index] as string) ?? 0),
    );
  }

  async update(updates: readonly JobUpdate[], tx: SqlExecutor): Promise<readonly boolean[]> {
    if (updates.length === 0) return [];
    const isEnding = updates.some(({ status }) => isTerminal(status));
    return updateRows(this.#statements.update, updates, tx, [isEnding ? await this.#now(tx) : "0"]);
  }

  async takeOver(
    options: { readonly owner: string; readonly liveOwners: readonly string[]; readonly limit: number },
    tx: SqlExecutor,
  ): Promise<readonly { readonly row: JobRow; readonly previousOwner: string }[]> {
    checkLimit(options.limit);
    const orphans = await tx.query<{ job_key: string; owner: string; fence: string }>(
      this.#statements.orphans,
      [options.liveOwners, options.limit],
    );
    if (orphans.length === 0) return [];
    const taken = await tx.query<SqlRow>(this.#statements.take, [
      options.owner,
      orphans.map((orphan) => orphan.job_key),
      orphans.map(({ fence }) => fence),
    ]);
    const previous = new Map(orphans.map(({ job_key, owner }) => [job_key, owner]));
    return taken
      .map((row) => ({ row: toJobRow(row), previousOwner: previous.get(row.job_key) ?? "" }))
      .sort((a, b) => a.row.submittedAt - b.row.submittedAt);
  }

  get(jobIds: readonly string[], options: Abortable = {}): Promise<readonly JobRow[]> {
    return this.#plain.get(jobIds, options);
  }

  list(
    filter: JobFilter,
    options: Abortable = {},
  ): Promise<{ readonly rows: readonly JobRow[]; readonly nextCursor: string | undefined }> {
    return this.#plain.list(filter, options);
  }

  counts(options: Abortable = {}): Promise<Readonly<Partial<Record<JobStatus, number>>>> {
    return this.#plain.counts(options);
  }

  async purge(
    options: { readonly olderThanMs: number; readonly limit: number },
    tx: SqlExecutor,
  ): Promise<readonly PurgedJob[]> {
    checkLimit(options.limit);
    const before = BigInt(await this.#now(tx)) - BigInt(Math.ceil(options.olderThanMs));
    const old = await tx.query<{ job_key: string }>(this.#statements.old, [before, options.limit]);
    if (old.length === 0) return [];
    const rows = await tx.query<PurgedRow & { readonly idempotency_hash: string }>(this.#statements.purge, [
      old.map((row) => row.job_key),
    ]);
    await tx.query(this.#statements.forget, [rows.map((row) => row.idempotency_hash)]);
    return rows.map(toPurgedJob);
  }

  /** Keeps the idempotency keys of new rows, and takes rows back whose key another job has. Gives who stays. */
  async #keepSubmissions(
    indexes: readonly number[],
    { keys, hashes }: KeyedRows,
    tx: SqlExecutor,
  ): Promise<ReadonlySet<number>> {
    const firstByHash = new Map<string, number>();
    for (const index of indexes) {
      const hash = hashes[index] as string;
      if (!firstByHash.has(hash)) firstByHash.set(hash, index);
    }
    if (firstByHash.size === 0) return new Set();
    // In one order everywhere: two that submit the same keys then do not wait for each other in a ring.
    const wanted = [...firstByHash].sort(([a], [b]) => (a < b ? -1 : 1));
    const stored = await tx.query<{ idempotency_hash: string }>(this.#statements.submit, [
      wanted.map(([hash]) => hash),
      wanted.map(([, index]) => keys[index] as string),
    ]);
    const kept = new Set(stored.map((row) => firstByHash.get(row.idempotency_hash) as number));
    const taken = indexes.filter((index) => !kept.has(index)).map((index) => keys[index] as string);
    if (taken.length > 0) await tx.query(this.#statements.takeBack, [taken]);
    return kept;
  }

  /** The coordinator's clock: nodes are given instants, not asked for them. */
  async #now(tx: SqlExecutor): Promise<string> {
    const [row] = await tx.query<{ now: string }>(this.#statements.now, []);
    assert(row !== undefined, "a SELECT without FROM gives a row");
    return row.now;
  }
}
