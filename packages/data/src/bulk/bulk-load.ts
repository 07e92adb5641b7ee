import {
  type Abortable,
  type Clock,
  InvalidInputError,
  isHoldfastError,
  systemClock,
  untilAborted,
} from "@holdfast/kernel";
import { ConstraintViolationError, StatementError } from "../errors.ts";
import type { Database, Transaction } from "../sql/database.ts";
import { quoteIdentifier } from "../sql/identifier.ts";
import { integerOption } from "../sql/integer-option.ts";
import { BulkRowRefusedError } from "./bulk-errors.ts";
import { type ColumnCodec, type ColumnTypeName, codecOf } from "./column-codec.ts";
import { CopyWriter } from "./copy-writer.ts";
import { mergeStaged, STAGING, STAGING_ROW, STAGING_TABLE, stage } from "./staging.ts";

export interface BulkColumn<Row> {
  readonly name: string;
  readonly type: ColumnTypeName | ColumnCodec;
  /** Default: the property of the column's name. `undefined` and `null` become NULL. */
  readonly value?: ((row: Row) => unknown) | undefined;
}

/**
 * What happens to a row whose key exists. The key must be a unique index of the table. As there, NULL equals nothing: a
 * row with NULL in its key is always inserted, unless the index says NULLS NOT DISTINCT.
 */
export type ConflictPolicy =
  | "refuse"
  /** The row that is there stays; of several with one key in the input the first wins. */
  | { readonly skip: readonly string[] }
  /** The loaded columns are overwritten; of several with one key in the input the last wins. */
  | { readonly update: readonly string[] };

export interface BulkLoadRequest<Row> extends Abortable {
  readonly table: string;
  readonly columns: readonly BulkColumn<Row>[];
  readonly rows: AsyncIterable<Row> | Iterable<Row>;
  /** Default "refuse": a row whose key exists fails the whole load. */
  readonly onConflict?: ConflictPolicy | undefined;
  /** Bytes that are sent at a time, 1_024 to 64 MiB; two such buffers are all that a load keeps. Default 1 MiB. */
  readonly batchMaxBytes?: number | undefined;
  readonly clock?: Clock | undefined;
}

/** `readCount` is the sum of the four others. */
export interface BulkLoadReport {
  readonly readCount: number;
  readonly insertedCount: number;
  readonly updatedCount: number;
  /** Rows whose key existed, or came earlier in the input, under the policy "skip". */
  readonly skippedCount: number;
  /** Rows of the input that a later one with the same key replaced, under the policy "update". */
  readonly supersededCount: number;
  readonly byteCount: number;
  readonly durationMs: number;
}

/**
 * Loads rows from any iterable through binary COPY, in one transaction: all of them, or none.
 *
 * While one buffer is on its way the next one is filled, and the source is asked for no more than fits: a slow
 * database slows the source down. The transaction is open meanwhile, so a source that stands still for longer
 * than the server's limit for idle transactions loses it.
 *
 * @throws BulkRowRefusedError with the number of the row (from 1) that cannot be encoded, or that the server
 *   refuses. Under "skip" and "update" a foreign key or another unique index is checked at the end, and its
 *   ConstraintViolationError names the constraint, not the row. Nothing was loaded.
 * @throws what the source throws; nothing was loaded.
 * @throws InvalidInputError for a request that cannot be run, the errors of `Database.transaction`, signal.reason.
 */
export const bulkLoad = async <Row>(
  database: Pick<Database, "transaction">,
  request: BulkLoadRequest<Row>,
): Promise<BulkLoadReport> => {
  const { onConflict = "refuse", signal, clock = systemClock } = request;
  const plan = planOf(request);
  const startedAt = clock.monotonicNow();
  return database.transaction(
    async (tx) => {
      if (onConflict !== "refuse") await stage(tx, plan.table, plan.names);
      const { readCount, byteCount } = await copyAll(tx, plan, request);
      const merged =
        onConflict === "refuse"
          ? { insertedCount: readCount, updatedCount: 0, skippedCount: 0, supersededCount: 0 }
          : await mergeStaged(tx, { ...plan, readCount, onConflict });
      return { readCount, byteCount, ...merged, durationMs: clock.monotonicNow() - startedAt };
    },
    { signal },
  );
};

interface LoadPlan<Row> {
  /** Quoted. */
  readonly table: string;
  /** Quoted, in the order of the columns. */
  readonly names: readonly string[];
  readonly copyText: string;
  /** What the server calls the table that COPY writes to. */
  readonly relation: string;
  readonly batchMaxBytes: number;
  /** Writes one row. */
  readonly write: (writer: CopyWriter, row: Row, rowNumber: number) => void;
}

const planOf = <Row>(request: BulkLoadRequest<Row>): LoadPlan<Row> => {
  const { columns, onConflict = "refuse" } = request;
  if (columns.length === 0) throw new InvalidInputError("columns", columns, "at least one column");
  const staged = onConflict !== "refuse";
  const table = quoteIdentifier(request.table, "table");
  const names = columns.map(({ name }, index) => quoteIdentifier(name, `columns[${index}].name`));
  const writers = columns.map(({ name, type, value }) => {
    const codec = codecOf(type, `column ${name}`);
    const read = value ?? ((row: Row) => (row as Record<string, unknown>)[name]);
    return (writer: CopyWriter, row: Row): void => {
      const found = read(row);
      if (found === undefined || found === null) writer.null();
      else codec.write(writer, found, name);
    };
  });
  const target = staged ? STAGING : table;
  const listed = staged ? [...names, STAGING_ROW] : names;
  return {
    table,
    names,
    copyText: `COPY ${target} (${listed.join(", ")}) FROM STDIN (FORMAT binary)`,
    relation: staged ? STAGING_TABLE : request.table,
    batchMaxBytes: integerOption("batchMaxBytes", request.batchMaxBytes ?? 1 << 20, 1_024, 1 << 26),
    write: (writer, row, rowNumber) => {
      writer.row(listed.length);
      for (const write of writers) write(writer, row);
      if (staged) writer.int64(BigInt(rowNumber));
    },
  };
};

const copyAll = async <Row>(
  tx: Transaction,
  plan: LoadPlan<Row>,
  { rows, signal }: BulkLoadRequest<Row>,
): Promise<{ readCount: number; byteCount: number }> => {
  // The buffer that is being filled, and the one whose bytes are on their way.
  let filling = new CopyWriter(plan.batchMaxBytes + (1 << 16));
  let sending: CopyWriter | undefined;
  let sent: Promise<void> | undefined;
  let readCount = 0;
  let firstRow = 1;
  let byteCount = 0;
  const flush = async (): Promise<void> => {
    await sent;
    const data = filling.finish();
    byteCount += data.length;
    sent = copyBatch(tx, plan, data, firstRow);
    // It is awaited before the next batch and at the end; a failure that comes earlier waits until then.
    sent.catch(() => undefined);
    [filling, sending] = [sending ?? new CopyWriter(plan.batchMaxBytes + (1 << 16)), filling];
    filling.reset();
    firstRow = readCount + 1;
  };
  for await (const row of untilLeft(rows, signal)) {
    signal?.throwIfAborted();
    readCount += 1;
    try {
      plan.write(filling, row, readCount);
    } catch (cause) {
      if (cause instanceof InvalidInputError) throw new BulkRowRefusedError(readCount, cause);
      throw cause;
    }
    if (filling.length >= plan.batchMaxBytes) await flush();
  }
  if (readCount >= firstRow) await flush();
  await sent;
  return { readCount, byteCount };
};

/** The same rows; but an abort ends the wait for one that does not come, and lets its source go. */
const untilLeft = <Row>(
  rows: AsyncIterable<Row> | Iterable<Row>,
  signal: AbortSignal | undefined,
): AsyncIterable<Row> | Iterable<Row> => {
  if (signal === undefined || !(Symbol.asyncIterator in rows)) return rows;
  return {
    [Symbol.asyncIterator]: () => {
      const source = rows[Symbol.asyncIterator]();
      return {
        next: async () => {
          try {
            return await untilAborted(source.next(), signal);
          } catch (error) {
            // A source that stands still may never say that it has ended, so nobody waits for it.
            if (signal.aborted) source.return?.().catch(() => undefined);
            throw error;
          }
        },
        return: async () => (await source.return?.()) ?? { done: true, value: undefined },
      };
    },
  };
};

const copyBatch = async (
  tx: Transaction,
  { copyText, relation }: Pick<LoadPlan<never>, "copyText" | "relation">,
  data: Uint8Array,
  firstRow: number,
): Promise<void> => {
  try {
    await tx.copyIn(copyText, data);
  } catch (error) {
    const line = lineOf(error, relation);
    throw line === undefined ? error : new BulkRowRefusedError(firstRow + line - 1, error as Error);
  }
};

/**
 * The line that the server names in the error's context: `COPY items, line 3, column embedding`, in any language. The
 * first number after the table's name is it: a name may hold numbers, and so may the column's.
 */
const lineOf = (error: unknown, relation: string): number | undefined => {
  if (!(error instanceof StatementError || error instanceof ConstraintViolationError)) return undefined;
  const { cause } = error;
  const where = isHoldfastError(cause)
    ? undefined
    : (cause as { readonly where?: string } | undefined)?.where;
  const named = `COPY ${relation}, `;
  const context = where
    ?.split("\n")
    .find((line) => line.startsWith(named))
    ?.slice(named.length);
  const line = (context === undefined ? /^COPY .*?, \D*(\d+)/m.exec(where ?? "") : /\d+/.exec(context))?.at(
    -1,
  );
  return line === undefined ? undefined : Number(line);
};
