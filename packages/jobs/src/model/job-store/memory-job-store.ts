import type { CoordinationStore } from "@holdfast/coordination";
import { createMemoryStore, type MemoryStoreOptions, type MemoryTx } from "@holdfast/coordination/memory";
import type { Abortable } from "@holdfast/kernel";
import type { JobStatus } from "@holdfast/protocol/contract";
import {
  type InsertOutcome,
  type JobFilter,
  type JobRow,
  type JobStore,
  type JobTable,
  type JobUpdate,
  type NewJobRow,
  type PurgedJob,
  TERMINAL_STATUSES,
} from "../job-table.ts";
import { checkFilter, checkLimit, STORE_PAYLOAD_MAX_BYTES } from "./checks.ts";
import { decodeCursor, encodeCursor } from "./cursor.ts";
import { jobKey } from "./job-key.ts";

/**
 * A job store in this process, with the guarantees of the others except that nothing survives the process.
 * For tests, the simulator, and set-ups whose jobs may be lost.
 */
export const createMemoryJobStore = (options: MemoryStoreOptions): JobStore<MemoryTx> => {
  const coordination = createMemoryStore({ payloadMaxBytes: STORE_PAYLOAD_MAX_BYTES, ...options });
  return {
    coordination,
    jobs: new MemoryJobTable(coordination),
    [Symbol.asyncDispose]: () => coordination.close(),
  };
};

interface StoredRow {
  readonly key: string;
  readonly row: JobRow;
}

class MemoryJobTable implements JobTable<MemoryTx> {
  readonly #store: CoordinationStore<MemoryTx>;
  readonly #rows = new Map<string, StoredRow>();
  readonly #keyByIdempotency = new Map<string, string>();

  constructor(store: CoordinationStore<MemoryTx>) {
    this.#store = store;
  }

  async insert(rows: readonly NewJobRow[], tx: MemoryTx): Promise<readonly InsertOutcome[]> {
    const submittedAt = Math.floor(await this.#store.now());
    return rows.map((row) => {
      const key = jobKey(row.jobId);
      const existing = this.#rows.get(key) ?? this.#byIdempotencyKey(row.idempotencyKey);
      if (existing !== undefined) return { kind: "exists", row: existing.row };
      const stored: JobRow = {
        ...row,
        fence: 1n,
        submittedAt,
        finishedAt: isTerminal(row.status) ? submittedAt : undefined,
      };
      this.#set({ key, row: frozen(stored) }, tx);
      return { kind: "inserted", row: stored };
    });
  }

  async update(updates: readonly JobUpdate[], tx: MemoryTx): Promise<readonly boolean[]> {
    const now = Math.floor(await this.#store.now());
    return updates.map((update) => {
      const key = jobKey(update.jobId);
      const stored = this.#rows.get(key);
      if (stored === undefined || stored.row.fence !== update.fence || isTerminal(stored.row.status)) {
        return false;
      }
      const row: JobRow = {
        ...stored.row,
        status: update.status,
        state: update.state ?? stored.row.state,
        finishedAt: isTerminal(update.status) ? now : undefined,
      };
      this.#set({ key, row: frozen(row) }, tx);
      return true;
    });
  }

  async takeOver(
    options: { readonly owner: string; readonly liveOwners: readonly string[]; readonly limit: number },
    tx: MemoryTx,
  ): Promise<readonly { readonly row: JobRow; readonly previousOwner: string }[]> {
    checkLimit(options.limit);
    const live = new Set(options.liveOwners);
    const orphans = [...this.#rows.values()]
      .filter(({ row }) => !isTerminal(row.status) && !live.has(row.owner))
      .sort((a, b) => byAge(b, a))
      .slice(0, options.limit);
    return orphans.map(({ key, row }) => {
      const taken = { ...row, owner: options.owner, fence: row.fence + 1n };
      this.#set({ key, row: frozen(taken) }, tx);
      return { row: taken, previousOwner: row.owner };
    });
  }

  get(jobIds: readonly string[], options: Abortable = {}): Promise<readonly JobRow[]> {
    return this.#read(options, () =>
      jobIds.flatMap((jobId) => {
        const stored = this.#rows.get(jobKey(jobId));
        return stored === undefined ? [] : [stored.row];
      }),
    );
  }

  async list(
    filter: JobFilter,
    options: Abortable = {},
  ): Promise<{ readonly rows: readonly JobRow[]; readonly nextCursor: string | undefined }> {
    checkFilter(filter);
    const after = filter.cursor === undefined ? undefined : decodeCursor(filter.cursor);
    const search = filter.search?.toLowerCase();
    return this.#read(options, () => {
      const found = [...this.#rows.values()]
        .filter(({ key, row }) => {
          if (filter.statuses !== undefined && !filter.statuses.includes(row.status)) return false;
          if (search !== undefined && !`${row.name}\n${row.jobId}`.toLowerCase().includes(search))
            return false;
          if (after === undefined || row.submittedAt < after.submittedAt) return true;
          return row.submittedAt === after.submittedAt && key < after.key;
        })
        .sort(byAge);
      const page = found.slice(0, filter.limit);
      const last = found.length > page.length ? page.at(-1) : undefined;
      return {
        rows: page.map(({ row }) => row),
        nextCursor:
          last === undefined ? undefined : encodeCursor({ submittedAt: last.row.submittedAt, key: last.key }),
      };
    });
  }

  counts(options: Abortable = {}): Promise<Readonly<Partial<Record<JobStatus, number>>>> {
    return this.#read(options, () => {
      const counts: Partial<Record<JobStatus, number>> = {};
      for (const { row } of this.#rows.values()) counts[row.status] = (counts[row.status] ?? 0) + 1;
      return counts;
    });
  }

  async purge(
    options: { readonly olderThanMs: number; readonly limit: number },
    tx: MemoryTx,
  ): Promise<readonly PurgedJob[]> {
    checkLimit(options.limit);
    const before = (await this.#store.now()) - options.olderThanMs;
    const purged = [...this.#rows.values()]
      .filter(({ row }) => row.finishedAt !== undefined && row.finishedAt <= before)
      .sort((a, b) => (a.row.finishedAt ?? 0) - (b.row.finishedAt ?? 0) || compare(a.key, b.key))
      .slice(0, options.limit);
    for (const stored of purged) {
      this.#rows.delete(stored.key);
      this.#keyByIdempotency.delete(stored.row.idempotencyKey);
      tx.onRollback(() => {
        this.#rows.set(stored.key, stored);
        this.#keyByIdempotency.set(stored.row.idempotencyKey, stored.key);
      });
    }
    return purged.map(({ row }) => ({
      jobId: row.jobId,
      workflowIds: row.spec.workflows.map(({ id }) => id),
    }));
  }

  /** Waits for the transaction that runs, so that nothing is seen which may yet be rolled back. */
  #read<T>(options: Abortable, body: () => T): Promise<T> {
    return this.#store.transaction(async () => body(), options);
  }

  #byIdempotencyKey(idempotencyKey: string): StoredRow | undefined {
    const key = this.#keyByIdempotency.get(idempotencyKey);
    return key === undefined ? undefined : this.#rows.get(key);
  }

  #set(stored: StoredRow, tx: MemoryTx): void {
    const before = this.#rows.get(stored.key);
    this.#rows.set(stored.key, stored);
    if (before === undefined) this.#keyByIdempotency.set(stored.row.idempotencyKey, stored.key);
    tx.onRollback(() => {
      if (before !== undefined) {
        this.#rows.set(stored.key, before);
        return;
      }
      this.#rows.delete(stored.key);
      this.#keyByIdempotency.delete(stored.row.idempotencyKey);
    });
  }
}

const isTerminal = (status: JobStatus): boolean =>
  (TERMINAL_STATUSES as readonly JobStatus[]).includes(status);

const compare = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);

/** Newest first. */
const byAge = (a: StoredRow, b: StoredRow): number =>
  b.row.submittedAt - a.row.submittedAt || compare(b.key, a.key);

/** What a caller does to its own objects afterwards must not reach the table, as it cannot on a server. */
const frozen = (row: JobRow): JobRow => ({ ...row, state: structuredClone(row.state), spec: row.spec });
