import { type Abortable, type Clock, InvalidInputError, silentLogger, TaskGroup } from "@holdfast/kernel";
import { StatementError } from "../errors.ts";
import type { Database, StatementRunner } from "../sql/database.ts";
import { quoteIdentifier } from "../sql/identifier.ts";
import { integerOption } from "../sql/integer-option.ts";
import { type CollectionTable, namespaceCondition } from "./collection-table.ts";
import type { FilterColumns } from "./filter.ts";
import { namespaceComment } from "./index-catalogue.ts";
import { type IndexForm, indexedExpression, indexFormFor, indexOpclass } from "./index-form.ts";
import { quoteLiteral } from "./search-statement.ts";
import { VectorIndexBusyError, VectorIndexInvalidError } from "./vector-errors.ts";
import type { VectorType } from "./vector-type.ts";

export interface BuildIndexOptions extends Abortable {
  /** Default: the most exact that pgvector can index (the vector itself up to 2,000 dimensions). */
  readonly form?: IndexForm | undefined;
  /** Neighbours of each entry, 2 to 100. Default 16. */
  readonly m?: number | undefined;
  /** Candidates looked at for each entry, at least twice `m`, at most 1_000. Default 128. */
  readonly efConstruction?: number | undefined;
  /** Index this namespace alone: its searches are then as quick as if it had a table of its own. */
  readonly namespace?: string | undefined;
  /** Whether the table takes writes meanwhile (CREATE INDEX CONCURRENTLY). Default true on a server. */
  readonly concurrently?: boolean | undefined;
  /**
   * The connection that builds: `openPostgres({ url, max: 1, statementTimeoutMs: 0 })`. Default: the collection's
   * own database, whose statement timeout ends a build that takes longer.
   */
  readonly maintenance?: Database | undefined;
  /** `maintenance_work_mem` for the build in MiB; needs `maintenance` with one connection. Default: the server's. */
  readonly memoryMb?: number | undefined;
  /** Parallel workers beside the first; needs `maintenance` with one connection. Default: the server's. */
  readonly workerCount?: number | undefined;
  /** Called about four times a second while a server builds. Must not throw. */
  readonly onProgress?: ((progress: IndexProgress) => void) | undefined;
}

export interface IndexProgress {
  /** The server's own name for what it does, for example "building index: loading tuples". */
  readonly phase: string;
  readonly doneCount: number;
  /** 0 while it is not known. */
  readonly totalCount: number;
}

export interface IndexReport {
  readonly name: string;
  readonly form: IndexForm;
  /** False when a valid index of this name was there already. */
  readonly isNew: boolean;
  readonly isValid: boolean;
  readonly sizeBytes: number;
  readonly durationMs: number;
  readonly memory: MemoryReport;
}

export interface MemoryReport {
  /** What the graph takes while it is built, roughly. */
  readonly neededBytes: number;
  readonly availableBytes: number;
  /** Building slows down many times once the graph does not fit. */
  readonly fits: boolean;
  readonly advice: string | undefined;
}

const PROGRESS_EVERY_MS = 250;
const MIB_BYTES = 2 ** 20;
/** A build that was given up is at an end by then: its connection is cut at the latest after 5 s. */
const CLEAN_UP_WAIT_MS = 10_000;
const CLEAN_UP_LOOK_EVERY_MS = 50;
/** What an entry takes beside its vector and its neighbours (pgvector's HnswElementData and its allocation). */
const ELEMENT_BYTES = 180;
const NEIGHBOUR_BYTES = 16;

interface Build<Columns extends FilterColumns> {
  readonly database: Database;
  readonly table: CollectionTable<Columns>;
  readonly clock: Clock;
}

/**
 * Builds an index without stopping the table's users. What a failed build leaves behind is removed, also what
 * an earlier one that was killed left; never what another process builds or has built meanwhile.
 *
 * @throws InvalidInputError where no index fits, with an advice.
 * @throws StatementTimeoutError when `maintenance` was needed; the index is gone.
 * @throws VectorIndexBusyError when another process builds it at this moment; retryable, it goes on there.
 * @throws VectorIndexInvalidError when the server says that it is done and the index is not valid.
 */
export const buildIndex = async <Columns extends FilterColumns>(
  build: Build<Columns>,
  options: BuildIndexOptions,
): Promise<IndexReport> => {
  const { database, table, clock } = build;
  const form = indexFormFor(table.shape, options.form);
  const m = integerOption("m", options.m ?? 16, 2, 100);
  const efConstruction = integerOption("efConstruction", options.efConstruction ?? 128, 2 * m, 1_000);
  const maintenance = checkMaintenance(database, options);
  const name = await indexName(database, table, form, options.namespace);
  const startedAt = clock.monotonicNow();
  const memory = await memoryReport(database, table, form, { m, memoryMb: options.memoryMb });
  const quoted = quoteIdentifier(name, "table");
  let before = await statusOf(database, name);
  if (before?.isValid === false) {
    // Somebody builds it now, or died over it, or has ended since we looked.
    if (await isBeingBuilt(database, name)) throw new VectorIndexBusyError(name);
    before = await statusOf(database, name);
  }
  const note = async (): Promise<void> => {
    if (options.namespace === undefined) return;
    const comment = quoteLiteral(namespaceComment(options.namespace));
    await maintenance.query(`COMMENT ON INDEX ${quoted} IS ${comment}`);
  };
  if (before?.isValid === true) {
    // A process that died after its build may not have said whose namespace it is.
    await note();
    return { name, form, isNew: false, ...before, durationMs: clock.monotonicNow() - startedAt, memory };
  }
  const isDistributed = await hasCitus(database);
  // The embedded database has one session, which nobody can use meanwhile anyway.
  const concurrently = options.concurrently ?? database.kind !== "embedded";
  const where = options.namespace === undefined ? "" : ` WHERE ${namespaceCondition(options.namespace)}`;
  const text = `CREATE INDEX ${concurrently ? "CONCURRENTLY " : ""}${quoted} ON ${table.quoted}
    USING hnsw (${indexedExpression(table.shape, form)} ${indexOpclass(table.shape, form)})
    WITH (m = ${m}, ef_construction = ${efConstruction})${where}`;
  const drop = `DROP INDEX ${concurrently ? "CONCURRENTLY " : ""}IF EXISTS ${quoted}`;
  if (before !== undefined) await maintenance.query(drop);
  let report: IndexReport;
  try {
    await withProgress(build, options, () => runBuild(maintenance, text, { ...options, concurrently }));
    await note();
    const after = await statusOf(database, name);
    if (after?.isValid !== true) throw new VectorIndexInvalidError(name);
    report = { name, form, isNew: true, ...after, durationMs: clock.monotonicNow() - startedAt, memory };
  } catch (error) {
    // Another process was quicker with the name: what is there is not ours to remove.
    if (error instanceof StatementError && error.sqlState === "42P07") {
      throw new VectorIndexBusyError(name, { cause: error });
    }
    // Why it failed matters more than why it could not be removed: the next build removes it.
    await removeFailed(build, maintenance, { name, drop }).catch(() => undefined);
    throw error;
  }
  // The index is good, whatever becomes of the statistics.
  if (!isDistributed) await maintenance.query(`ANALYZE ${table.quoted}`);
  return { ...report, durationMs: clock.monotonicNow() - startedAt };
};

/**
 * Removes what our build left. A valid index is none of that, and one that is still being built when ours must have
 * ended is another process's, which had the table while ours waited for it.
 */
const removeFailed = async <Columns extends FilterColumns>(
  { database, clock }: Build<Columns>,
  maintenance: Database,
  { name, drop }: { readonly name: string; readonly drop: string },
): Promise<void> => {
  const giveUpAt = clock.monotonicNow() + CLEAN_UP_WAIT_MS;
  while (await isBeingBuilt(database, name)) {
    if (clock.monotonicNow() >= giveUpAt) return;
    await clock.sleep(CLEAN_UP_LOOK_EVERY_MS);
  }
  const left = await statusOf(database, name);
  if (left?.isValid === false) await maintenance.query(drop);
};

const isBeingBuilt = async (database: StatementRunner, name: string): Promise<boolean> => {
  const rows = await database.query(
    `SELECT 1 FROM pg_stat_progress_create_index p JOIN pg_class c ON c.oid = p.index_relid
      WHERE c.relname = $1 AND pg_table_is_visible(c.oid)`,
    [name],
  );
  return rows.length > 0;
};

const checkMaintenance = (database: Database, options: BuildIndexOptions): Database => {
  const { maintenance = database, memoryMb, workerCount } = options;
  if (memoryMb !== undefined) integerOption("memoryMb", memoryMb, 1, 1 << 20);
  if (workerCount !== undefined) integerOption("workerCount", workerCount, 0, 64);
  const needsOne = memoryMb !== undefined || workerCount !== undefined;
  if (needsOne && maintenance.stats().sessionMaxCount !== 1) {
    throw new InvalidInputError(
      "maintenance",
      "a pool",
      "a database with one connection when memoryMb or workerCount is given",
    );
  }
  return maintenance;
};

const runBuild = async (maintenance: Database, text: string, options: BuildIndexOptions): Promise<void> => {
  const { memoryMb, workerCount, signal } = options;
  const settings: Record<string, string> = {
    ...(memoryMb === undefined ? {} : { maintenance_work_mem: `${memoryMb}MB` }),
    ...(workerCount === undefined ? {} : { max_parallel_maintenance_workers: String(workerCount) }),
  };
  const names = Object.keys(settings);
  for (const name of names) await maintenance.query(`SET ${name} = '${settings[name]}'`);
  try {
    await maintenance.query(text, undefined, { signal });
  } finally {
    // An embedded database stays; a connection that broke took its settings along.
    for (const name of names) await maintenance.query(`RESET ${name}`).catch(() => undefined);
  }
};

/** Watches the server's own figures while `body` runs. The embedded database has no second session to watch from. */
const withProgress = async <Columns extends FilterColumns>(
  { database, table, clock }: Build<Columns>,
  { onProgress }: BuildIndexOptions,
  body: () => Promise<void>,
): Promise<void> => {
  if (onProgress === undefined || database.kind === "embedded") return body();
  await using watch = new TaskGroup({ logger: silentLogger });
  watch.spawn("index progress", async (signal) => {
    for (;;) {
      const [row] = await database.query<{ phase: string; done: string; total: string }>(
        `SELECT phase, greatest(tuples_done, blocks_done) AS done, greatest(tuples_total, blocks_total) AS total
           FROM pg_stat_progress_create_index WHERE relid = $1::text::regclass`,
        [table.quoted],
        { signal },
      );
      if (row !== undefined) {
        onProgress({ phase: row.phase, doneCount: Number(row.done), totalCount: Number(row.total) });
      }
      await clock.sleep(PROGRESS_EVERY_MS, { signal });
    }
  });
  await body();
};

const statusOf = async (
  database: StatementRunner,
  name: string,
): Promise<{ readonly isValid: boolean; readonly sizeBytes: number } | undefined> => {
  const [row] = await database.query<{ valid: boolean; size: string }>(
    `SELECT x.indisvalid AND x.indisready AS valid, pg_relation_size(c.oid) AS size
       FROM pg_class c JOIN pg_index x ON x.indexrelid = c.oid
      WHERE c.relname = $1 AND pg_table_is_visible(c.oid)`,
    [name],
  );
  return row === undefined ? undefined : { isValid: row.valid, sizeBytes: Number(row.size) };
};

/** One name for each form and namespace; a namespace goes in as a hash, for it may be of any length. */
const indexName = async <Columns extends FilterColumns>(
  database: StatementRunner,
  table: CollectionTable<Columns>,
  form: IndexForm,
  namespace: string | undefined,
): Promise<string> => {
  if (namespace === undefined) return `${table.name}_hnsw_${form}`;
  const [row] = await database.query<{ hash: string }>("SELECT left(md5($1), 8) AS hash", [namespace]);
  return `${table.name}_hn_${form}_${row?.hash ?? ""}`;
};

const hasCitus = async (database: StatementRunner): Promise<boolean> =>
  (await database.query("SELECT 1 FROM pg_extension WHERE extname = 'citus'")).length > 0;

const BYTES_PER_DIMENSION: Readonly<Record<VectorType, number>> = {
  vector: 4,
  halfvec: 2,
  bit: 1 / 8,
  sparsevec: 0,
};

const memoryReport = async <Columns extends FilterColumns>(
  database: StatementRunner,
  { quoted, shape }: CollectionTable<Columns>,
  form: IndexForm,
  options: { readonly m: number; readonly memoryMb: number | undefined },
): Promise<MemoryReport> => {
  const [row] = await database.query<{ available: string; rows: number; pages: string }>(
    `SELECT pg_size_bytes(current_setting('maintenance_work_mem')) AS available,
            greatest(c.reltuples, 0)::float8 AS rows, pg_relation_size(c.oid) / 8192 AS pages
       FROM pg_class c WHERE c.oid = $1::text::regclass`,
    [quoted],
  );
  const indexed: VectorType = form === "binary" ? "bit" : form === "halfvec" ? "halfvec" : shape.type;
  const vectorBytes = 8 + shape.dimensions * BYTES_PER_DIMENSION[indexed];
  const perPage = Math.max(1, Math.floor(8_000 / (64 + shape.dimensions * BYTES_PER_DIMENSION[shape.type])));
  // Before the first ANALYZE only the size of the table is known.
  const rows = Math.max(row?.rows ?? 0, Number(row?.pages ?? 0) * perPage * ((row?.rows ?? 0) > 0 ? 0 : 1));
  // Level 0 has 2m neighbours, and one entry in m is on each level above.
  const neededBytes = Math.ceil(rows * (vectorBytes + ELEMENT_BYTES + 2 * options.m * NEIGHBOUR_BYTES * 1.1));
  // Not by a shift, which ends at 2 GiB.
  const availableBytes =
    options.memoryMb === undefined ? Number(row?.available ?? 0) : options.memoryMb * MIB_BYTES;
  const fits = neededBytes <= availableBytes;
  const advice = fits
    ? undefined
    : `the graph takes about ${Math.ceil(neededBytes / MIB_BYTES)} MiB: build with memoryMb of at least that, where the server has it`;
  return { neededBytes, availableBytes, fits, advice };
};
