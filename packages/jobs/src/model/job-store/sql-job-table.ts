import type { SqlClient, SqlExecutor } from "@holdfast/coordination/postgres";
import type { Abortable } from "@holdfast/kernel";
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
import { checkFilter, checkLimit } from "./checks.ts";
import { decodeCursor, encodeCursor } from "./cursor.ts";
import { jobKey } from "./job-key.ts";
import {
  existingOutcomes,
  insertedOutcome,
  insertRows,
  keyedRows,
  type PurgedRow,
  type SqlRow,
  toJobRow,
  toPurgedJob,
  updateRows,
} from "./job-rows.ts";
import { type JobStatements, jobStatements } from "./sql-job-statements.ts";

/** `JobTable` on PostgreSQL; one statement per call, `insert` two when a row was there already. */
export class SqlJobTable implements JobTable<SqlExecutor> {
  readonly #client: SqlClient;
  readonly #statements: JobStatements;
  readonly #onInserted: (count: number) => void;

  /** @param options.onInserted Hears how many rows a statement added; the transaction may still be rolled back. */
  constructor(
    client: SqlClient,
    schema: string,
    options: { readonly onInserted?: (count: number) => void } = {},
  ) {
    this.#client = client;
    this.#onInserted = options.onInserted ?? (() => undefined);
    this.#statements = jobStatements(schema);
  }

  async insert(rows: readonly NewJobRow[], tx: SqlExecutor): Promise<readonly InsertOutcome[]> {
    if (rows.length === 0) return [];
    const keyed = keyedRows(rows);
    const insertedAt = await insertRows(this.#statements.insert, keyed, tx);
    this.#onInserted(insertedAt.size);
    const outcomes = rows.map((row, index): InsertOutcome | undefined => {
      const key = keyed.keys[index] as string;
      const submittedAt = insertedAt.get(key);
      if (submittedAt === undefined) return undefined;
      // A second row with this key in the same call is a duplicate of the first.
      insertedAt.delete(key);
      return insertedOutcome(row, submittedAt);
    });
    const missing = outcomes.flatMap((outcome, index) => (outcome === undefined ? [index] : []));
    const existing = await existingOutcomes(this.#statements.existing, keyed, missing, tx);
    return outcomes.map((outcome, index) => outcome ?? (existing.get(index) as InsertOutcome));
  }

  async update(updates: readonly JobUpdate[], tx: SqlExecutor): Promise<readonly boolean[]> {
    if (updates.length === 0) return [];
    return updateRows(this.#statements.update, updates, tx);
  }

  async takeOver(
    options: { readonly owner: string; readonly liveOwners: readonly string[]; readonly limit: number },
    tx: SqlExecutor,
  ): Promise<readonly { readonly row: JobRow; readonly previousOwner: string }[]> {
    checkLimit(options.limit);
    const rows = await tx.query<SqlRow & { previous_owner: string }>(this.#statements.takeOver, [
      options.owner,
      options.liveOwners,
      options.limit,
    ]);
    return rows
      .map((row) => ({ row: toJobRow(row), previousOwner: row.previous_owner }))
      .sort((a, b) => a.row.submittedAt - b.row.submittedAt);
  }

  async get(jobIds: readonly string[], options: Abortable = {}): Promise<readonly JobRow[]> {
    if (jobIds.length === 0) return [];
    const rows = await this.#client.query<SqlRow>(this.#statements.get, [jobIds.map(jobKey)], options);
    const byKey = new Map(rows.map((row) => [row.job_key, row]));
    return jobIds.flatMap((jobId) => {
      const row = byKey.get(jobKey(jobId));
      return row === undefined ? [] : [toJobRow(row)];
    });
  }

  async list(
    filter: JobFilter,
    options: Abortable = {},
  ): Promise<{ readonly rows: readonly JobRow[]; readonly nextCursor: string | undefined }> {
    checkFilter(filter);
    const after = filter.cursor === undefined ? undefined : decodeCursor(filter.cursor);
    const rows = await this.#client.query<SqlRow>(
      this.#statements.list,
      [
        filter.statuses ?? null,
        filter.search?.replaceAll("\0", "") ?? null,
        after?.submittedAt ?? null,
        after?.key ?? null,
        filter.limit + 1,
      ],
      options,
    );
    const page = rows.slice(0, filter.limit);
    const last = rows.length > page.length ? page.at(-1) : undefined;
    return {
      rows: page.map(toJobRow),
      nextCursor:
        last === undefined
          ? undefined
          : encodeCursor({ submittedAt: Number(last.submitted_at), key: last.job_key }),
    };
  }

  async counts(options: Abortable = {}): Promise<Readonly<Partial<Record<JobStatus, number>>>> {
    const rows = await this.#client.query<{ status: JobStatus; count: string }>(
      this.#statements.counts,
      [],
      options,
    );
    return Object.fromEntries(rows.map(({ status, count }) => [status, Number(count)]));
  }

  async purge(
    options: { readonly olderThanMs: number; readonly limit: number },
    tx: SqlExecutor,
  ): Promise<readonly PurgedJob[]> {
    checkLimit(options.limit);
    const rows = await tx.query<PurgedRow>(this.#statements.purge, [
      Math.ceil(options.olderThanMs),
      options.limit,
    ]);
    return rows.map(toPurgedJob);
  }
}
