import { type Abortable, type Clock, InvalidInputError, systemClock } from "@holdfast/kernel";
import { type BulkLoadReport, bulkLoad } from "../bulk/bulk-load.ts";
import { StatementError } from "../errors.ts";
import type { Database, StatementOptions } from "../sql/database.ts";
import { integerOption } from "../sql/integer-option.ts";
import { checkVector } from "./check-vector.ts";
import { type CollectionTable, describeTable, migrateTable } from "./collection-table.ts";
import type { FilterColumns } from "./filter.ts";
import { type BuildIndexOptions, buildIndex, type IndexReport } from "./index-build.ts";
import { IndexCatalogue } from "./index-catalogue.ts";
import { checkedMetadata } from "./metadata.ts";
import {
  measureRecall,
  type RecallReport,
  type RecallRequest,
  type TuneReport,
  tuneRecall,
} from "./recall.ts";
import { EF_SEARCH_MAX, type SearchPlan } from "./search-plan.ts";
import { Searcher, type SearchRequest } from "./searcher.ts";
import { encodeVector, vectorColumn } from "./vector-binary.ts";
import { refuseUnknownFields, type VectorRecord } from "./vector-record.ts";
import { parseVector } from "./vector-text.ts";
import type { Distance, VectorType, VectorValue } from "./vector-type.ts";

export interface CollectionOptions<T extends VectorType, Columns extends FilterColumns> {
  readonly database: Database;
  /** The table's name, at most 40 bytes; made by `migrate`. */
  readonly table: string;
  readonly dimensions: number;
  /** Default "vector": 4 bytes a number. "halfvec" takes 2, "bit" an eighth; "sparsevec" keeps what is not zero. */
  readonly type?: T | undefined;
  /** Default "cosine", for bits "hamming". */
  readonly distance?: Distance | undefined;
  /** Columns beside our own that searches filter by; each gets an index. Default none. */
  readonly columns?: Columns | undefined;
  /** How wide searches by index are, 1 to 1_000, unless they say otherwise; `tune` finds the right one. Default 100. */
  readonly efSearch?: number | undefined;
  readonly clock?: Clock | undefined;
}

/** A row as it is found, without its vector. */
export interface StoredRow {
  /** Grows with the order of insertion on one server; decimal. */
  readonly id: string;
  readonly namespace: string;
  readonly key: string;
  readonly value: string | null;
  readonly metadata: Readonly<Record<string, unknown>>;
}

export interface StoredRecord<T extends VectorType> extends StoredRow {
  readonly vector: VectorValue<T>;
  readonly createdAt: Date;
  readonly updatedAt: Date;
}

export interface SearchMatch extends StoredRow {
  /** In the collection's distance; smaller is nearer. An inner product is given as its negative. */
  readonly distance: number;
  /** One minus the distance, for cosine. */
  readonly similarity: number | undefined;
}

export interface SearchResult {
  /** The nearest first. */
  readonly matches: readonly SearchMatch[];
  readonly plan: SearchPlan;
}

const ROW = "id, namespace, key, value, metadata";
const RECORD = `${ROW}, embedding::text AS vector, created_at AS "createdAt", updated_at AS "updatedAt"`;

/** Vectors with a namespace, a key, a text and metadata, in one table of a database with pgvector. */
export class VectorCollection<
  T extends VectorType = "vector",
  Columns extends FilterColumns = FilterColumns,
> {
  readonly #database: Database;
  readonly #table: CollectionTable<Columns>;
  readonly #type: T;
  readonly #clock: Clock;
  readonly #catalogue: IndexCatalogue;
  readonly #searcher: Searcher<T, Columns>;
  #efSearch: number;

  constructor(options: CollectionOptions<T, Columns>) {
    const { database, table, dimensions, clock = systemClock } = options;
    const type = options.type ?? ("vector" as T);
    const distance = options.distance ?? (type === "bit" ? "hamming" : "cosine");
    this.#database = database;
    this.#table = describeTable({
      table,
      shape: { type, dimensions, distance },
      columns: options.columns ?? ({} as Columns),
    });
    this.#type = type;
    this.#clock = clock;
    this.#efSearch = integerOption("efSearch", options.efSearch ?? 100, 1, EF_SEARCH_MAX);
    this.#catalogue = new IndexCatalogue({ database, table: this.#table.quoted, clock });
    this.#searcher = new Searcher({ database, table: this.#table, catalogue: this.#catalogue });
  }

  /** How wide searches by index are now. */
  get efSearch(): number {
    return this.#efSearch;
  }

  /**
   * Creates what is missing of extension, table and filter indexes; may run in several processes at once. With
   * Citus the table is distributed by namespace.
   * @throws VectorExtensionError, VectorSchemaMismatchError; nothing was changed.
   */
  async migrate(): Promise<void> {
    await migrateTable(this.#database, this.#table);
    this.#catalogue.forget();
  }

  /**
   * Adds a row and gives its id.
   * @throws ConstraintViolationError when the namespace has the key already.
   * @throws InvalidInputError for a vector that does not fit, naming the element, for a field that the collection does
   *   not have and for metadata that JSON cannot hold, naming it; nothing was sent.
   */
  insert(record: VectorRecord<T, Columns>, options?: StatementOptions): Promise<{ readonly id: string }> {
    return this.#write(record, "", options);
  }

  /** Adds a row, or overwrites the one that has the key. */
  upsert(record: VectorRecord<T, Columns>, options?: StatementOptions): Promise<{ readonly id: string }> {
    const names = ["embedding", "value", "metadata", ...this.#table.columnNames];
    const assigned = names.map((name) => `${name} = EXCLUDED.${name}`);
    return this.#write(
      record,
      ` ON CONFLICT (namespace, key) DO UPDATE SET ${assigned.join(", ")}, updated_at = now()`,
      options,
    );
  }

  async get(
    namespace: string,
    key: string,
    options?: StatementOptions,
  ): Promise<StoredRecord<T> | undefined> {
    const text = `SELECT ${RECORD} FROM ${this.#table.quoted} WHERE namespace = $1 AND key = $2`;
    const [row] = await this.#database.query<StoredRecord<T> & { vector: string }>(
      text,
      [namespace, key],
      options,
    );
    return row === undefined ? undefined : this.#stored(row);
  }

  /** @param options.limit 1 to 10_000, default 100. The newest first. */
  async list(
    namespace: string,
    options: StatementOptions & { readonly limit?: number } = {},
  ): Promise<readonly StoredRecord<T>[]> {
    const limit = integerOption("limit", options.limit ?? 100, 1, 10_000);
    const text = `SELECT ${RECORD} FROM ${this.#table.quoted} WHERE namespace = $1
      ORDER BY created_at DESC, id DESC LIMIT ${limit}`;
    const rows = await this.#database.query<StoredRecord<T> & { vector: string }>(text, [namespace], options);
    return rows.map((row) => this.#stored(row));
  }

  /** Whether there was such a row. */
  async delete(namespace: string, key: string, options?: StatementOptions): Promise<boolean> {
    const text = `DELETE FROM ${this.#table.quoted} WHERE namespace = $1 AND key = $2`;
    return (await this.#database.execute(text, [namespace, key], options)).rowCount > 0;
  }

  async count(namespace: string, options?: StatementOptions): Promise<number> {
    const text = `SELECT count(*) AS count FROM ${this.#table.quoted} WHERE namespace = $1`;
    const [row] = await this.#database.query<{ count: string }>(text, [namespace], options);
    return Number(row?.count ?? 0);
  }

  /**
   * Loads rows from any iterable through binary COPY: all of them or none; see `bulkLoad`. On an empty table load
   * first and build the index afterwards.
   *
   * @param options.onConflict "refuse" (default), "skip" or "update" for rows whose namespace and key exist.
   * @throws BulkRowRefusedError with the number of the row, also of one that `insert` refuses; nothing was loaded.
   */
  async load(
    rows: AsyncIterable<VectorRecord<T, Columns>> | Iterable<VectorRecord<T, Columns>>,
    options: Abortable & {
      readonly onConflict?: "refuse" | "skip" | "update" | undefined;
      readonly batchMaxBytes?: number | undefined;
    } = {},
  ): Promise<BulkLoadReport> {
    const { onConflict = "refuse", signal, batchMaxBytes } = options;
    const key = ["namespace", "key"];
    type Row = VectorRecord<T, Columns>;
    const now = new Date(this.#clock.wallNow());
    const report = await bulkLoad<Row>(this.#database, {
      table: this.#table.name,
      rows,
      signal,
      batchMaxBytes,
      clock: this.#clock,
      onConflict:
        onConflict === "refuse" ? "refuse" : onConflict === "skip" ? { skip: key } : { update: key },
      columns: [
        {
          name: "namespace",
          type: "text",
          value: (row) => {
            refuseUnknownFields(row, this.#table.columns);
            return row.namespace;
          },
        },
        { name: "key", type: "text" },
        { name: "embedding", type: vectorColumn(this.#table.shape), value: (row) => row.vector },
        { name: "value", type: "text" },
        {
          name: "metadata",
          type: "jsonb",
          value: (row) => checkedMetadata("metadata", row.metadata ?? {}),
        },
        ...Object.entries(this.#table.columns).map(([name, type]) => ({
          name,
          type,
          value: (row: Row) => row.columns?.[name],
        })),
        ...(onConflict === "update"
          ? [{ name: "updated_at", type: "timestamptz" as const, value: () => now }]
          : []),
      ],
    });
    this.#catalogue.forget();
    return report;
  }

  /**
   * The nearest rows. How they are looked for is chosen by what is known of the table, and told with the result:
   * all rows that match one by one, or the index, or the index again and again until enough of what it finds
   * matches. A search by index that finds fewer than `k` runs again exactly, so `k` rows come back whenever so
   * many match.
   *
   * What it sets on the server ends with it. @throws InvalidInputError, StatementTimeoutError, signal.reason.
   */
  async search(request: SearchRequest<T, Columns>): Promise<SearchResult> {
    const { rows, plan } = await namingTheVector(
      this.#searcher.search<StoredRow & { distance: number; similarity: number | undefined }>(
        { ...request, efSearch: request.efSearch ?? this.#efSearch },
        ROW,
      ),
    );
    const isCosine = this.#table.shape.distance === "cosine";
    // The rows are ours: copying ten of them would take a third of what a search costs this process.
    for (const row of rows) row.similarity = isCosine ? 1 - row.distance : undefined;
    return { plan, matches: rows };
  }

  /** What `search` would do and why, and the server's own plan for it. Nothing is searched. */
  explain(
    request: SearchRequest<T, Columns>,
  ): Promise<{ readonly plan: SearchPlan; readonly text: string; readonly lines: readonly string[] }> {
    return this.#searcher.explain({ ...request, efSearch: request.efSearch ?? this.#efSearch }, ROW);
  }

  /**
   * Builds an HNSW index while the table stays in use, and reports memory, progress and validity; see
   * {@link BuildIndexOptions}. An index that exists in the wanted form is left as it is.
   */
  async buildIndex(options: BuildIndexOptions = {}): Promise<IndexReport> {
    const report = await buildIndex(
      { database: this.#database, table: this.#table, clock: this.#clock },
      options,
    );
    this.#catalogue.forget();
    return report;
  }

  /**
   * How much of the truth searches by index find: each sample is searched exactly and by index.
   * @throws InvalidInputError when there is no index to measure, or nothing to search.
   */
  measureRecall(request: RecallRequest<T, Columns> = {}): Promise<RecallReport> {
    return measureRecall(this.#measured(), { ...request, efSearch: request.efSearch ?? this.#efSearch });
  }

  /**
   * Finds the narrowest search that reaches the recall, and uses it from now on in this process. Where even the
   * widest does not, nothing changes and the report says what to do.
   */
  async tune(request: RecallRequest<T, Columns> & { readonly targetRecall: number }): Promise<TuneReport> {
    const report = await tuneRecall(this.#measured(), request);
    if (report.isReached) this.#efSearch = report.efSearch;
    return report;
  }

  #measured(): Parameters<typeof measureRecall<T, Columns>>[0] {
    return {
      database: this.#database,
      table: this.#table,
      type: this.#type,
      clock: this.#clock,
      search: (request) => this.search(request),
    };
  }

  async #write(
    record: VectorRecord<T, Columns>,
    onConflict: string,
    options: StatementOptions | undefined,
  ): Promise<{ readonly id: string }> {
    const { shape, quoted, columns, columnNames } = this.#table;
    checkVector(shape, record.vector, "vector");
    refuseUnknownFields(record, columns);
    const values = [
      record.namespace,
      record.key,
      encodeVector(shape.type, record.vector),
      record.value ?? null,
      JSON.stringify(checkedMetadata("metadata", record.metadata ?? {})),
      ...Object.keys(columns).map((name) => record.columns?.[name] ?? null),
    ];
    const names = ["namespace", "key", "embedding", "value", "metadata", ...columnNames];
    const text = `INSERT INTO ${quoted} (${names.join(", ")})
      VALUES (${values.map((_value, index) => `$${index + 1}`).join(", ")})${onConflict} RETURNING id`;
    const [row] = await namingTheVector(this.#database.query<{ id: string }>(text, values, options));
    return { id: row?.id ?? "" };
  }

  #stored(row: StoredRecord<T> & { readonly vector: string }): StoredRecord<T> {
    return { ...row, vector: parseVector(this.#type, row.vector) };
  }
}

/** With a vector in its binary form a data exception is about its dimensions: the table is another than declared. */
const namingTheVector = async <R>(work: Promise<R>): Promise<R> => {
  try {
    return await work;
  } catch (cause) {
    if (!(cause instanceof StatementError) || cause.sqlState !== "22000") throw cause;
    throw new InvalidInputError("vector", "another number", "of as many dimensions as the table's column", {
      cause,
    });
  }
};

/**
 * Describes a collection; `migrate` makes it.
 * @throws InvalidInputError naming what cannot be: a name, a type with a distance it does not have, too many dimensions.
 */
export const createVectorCollection = <
  const T extends VectorType = "vector",
  const Columns extends FilterColumns = Record<never, never>,
>(
  options: CollectionOptions<T, Columns>,
): VectorCollection<T, Columns> => new VectorCollection(options);
