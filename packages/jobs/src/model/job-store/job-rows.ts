import type { Json } from "@holdfast/coordination";
import type { SqlExecutor } from "@holdfast/coordination/postgres";
import { assert, InvalidInputError } from "@holdfast/kernel";
import type { JobSpec, JobStatus } from "@holdfast/protocol/contract";
import {
  type InsertOutcome,
  type JobRow,
  type JobUpdate,
  type NewJobRow,
  type PurgedJob,
  TERMINAL_STATUSES,
} from "../job-table.ts";
import { jobKey } from "./job-key.ts";

/** A row as the statements give it. */
export interface SqlRow {
  readonly job_key: string;
  readonly job_id: string;
  readonly idempotency_key: string;
  readonly payload_hash: string;
  readonly owner: string;
  readonly fence: string;
  readonly status: JobStatus;
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly spec: JobSpec;
  readonly state: Json;
  readonly submitted_at: string;
  readonly finished_at: string | null;
}

/** New rows with the keys that the table finds them by. */
export interface KeyedRows {
  readonly rows: readonly NewJobRow[];
  readonly keys: readonly string[];
  /** Of the idempotency keys. */
  readonly hashes: readonly string[];
}

/** @throws InvalidInputError for a text that PostgreSQL cannot store: it would fail the rows beside it too. */
export const keyedRows = (rows: readonly NewJobRow[]): KeyedRows => {
  for (const row of rows) checkStorable(row);
  return {
    rows,
    keys: rows.map(({ jobId }) => jobKey(jobId)),
    hashes: rows.map(({ idempotencyKey }) => jobKey(idempotencyKey)),
  };
};

/** Runs an insert; gives when each row that is new was submitted, by its key. */
export const insertRows = async (
  statement: string,
  { rows, keys, hashes }: KeyedRows,
  tx: SqlExecutor,
): Promise<Map<string, number>> => {
  const inserted = await tx.query<{ job_key: string; submitted_at: string }>(statement, [
    keys,
    rows.map(({ jobId }) => jobId),
    hashes,
    rows.map(({ idempotencyKey }) => idempotencyKey),
    rows.map((row) => row.payloadHash),
    rows.map(({ owner }) => owner),
    rows.map(({ status }) => status),
    rows.map(({ name }) => name),
    rows.map(({ labels }) => JSON.stringify(labels)),
    rows.map(({ spec }) => JSON.stringify(spec)),
    rows.map(({ state }) => JSON.stringify(state)),
    TERMINAL_STATUSES,
  ]);
  return new Map(inserted.map((row) => [row.job_key, Number(row.submitted_at)]));
};

export const insertedOutcome = (row: NewJobRow, submittedAt: number): InsertOutcome => ({
  kind: "inserted",
  row: { ...row, fence: 1n, submittedAt, finishedAt: isTerminal(row.status) ? submittedAt : undefined },
});

/** What is there in the place of those rows that were not inserted, in their order. */
export const existingOutcomes = async (
  statement: string,
  { rows, keys, hashes }: KeyedRows,
  missing: readonly number[],
  tx: SqlExecutor,
): Promise<ReadonlyMap<number, InsertOutcome>> => {
  if (missing.length === 0) return new Map();
  const found = await tx.query<SqlRow>(statement, [
    missing.map((index) => keys[index] as string),
    missing.map((index) => hashes[index] as string),
  ]);
  const byKey = new Map(found.map((row) => [row.job_key, row]));
  const byHash = new Map(found.map((row) => [jobKey(row.idempotency_key), row]));
  return new Map(
    missing.map((index) => {
      const row = byKey.get(keys[index] as string) ?? byHash.get(hashes[index] as string);
      // Deleted between the two statements: rare, and the caller may simply try again.
      if (row === undefined) throw new InvalidInputError("jobId", rows[index]?.jobId, "not being purged now");
      return [index, { kind: "exists", row: toJobRow(row) }];
    }),
  );
};

/** Runs an update; says of each job whether its fence still held. `more`: what the statement takes beyond that. */
export const updateRows = async (
  statement: string,
  updates: readonly JobUpdate[],
  tx: SqlExecutor,
  more: readonly unknown[] = [],
): Promise<readonly boolean[]> => {
  const keys = updates.map(({ jobId }) => jobKey(jobId));
  assert(new Set(keys).size === keys.length, "one update per job and call");
  const changed = await tx.query<{ job_key: string }>(statement, [
    keys,
    updates.map(({ fence }) => fence),
    updates.map(({ status }) => status),
    updates.map(({ state }) => (state === undefined ? null : JSON.stringify(state))),
    TERMINAL_STATUSES,
    ...more,
  ]);
  const found = new Set(changed.map((row) => row.job_key));
  return keys.map((key) => found.has(key));
};

/** What a purge gives of a row that it deleted. */
export interface PurgedRow {
  readonly job_id: string;
  readonly spec: JobSpec;
}

export const toPurgedJob = ({ job_id: jobId, spec }: PurgedRow): PurgedJob => ({
  jobId,
  workflowIds: spec.workflows.map(({ id }) => id),
});

const checkStorable = (row: NewJobRow): void => {
  for (const field of ["jobId", "idempotencyKey", "name"] as const) {
    if (row[field].includes("\0")) throw new InvalidInputError(field, row[field], "free of NUL characters");
  }
};

export const isTerminal = (status: JobStatus): boolean =>
  (TERMINAL_STATUSES as readonly JobStatus[]).includes(status);

export const toJobRow = (row: SqlRow): JobRow => ({
  jobId: row.job_id,
  idempotencyKey: row.idempotency_key,
  payloadHash: row.payload_hash,
  owner: row.owner,
  fence: BigInt(row.fence),
  status: row.status,
  name: row.name,
  labels: row.labels,
  spec: row.spec,
  state: row.state,
  submittedAt: Number(row.submitted_at),
  finishedAt: row.finished_at === null ? undefined : Number(row.finished_at),
});
