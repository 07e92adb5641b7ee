import { InvalidInputError } from "@holdfast/kernel";
import type { Database, StatementRunner } from "../sql/database.ts";
import { quoteIdentifier } from "../sql/identifier.ts";
import { integerOption } from "../sql/integer-option.ts";
import type { VectorShape } from "./check-vector.ts";
import type { FilterColumns } from "./filter.ts";
import { quoteLiteral } from "./search-statement.ts";
import { VectorExtensionError, VectorSchemaMismatchError } from "./vector-errors.ts";
import { checkDistance, DIMENSIONS_MAX, type Distance } from "./vector-type.ts";

/** Iterative scans came with it. */
const EXTENSION_MINIMUM = "0.8.0";
/** Names of indexes are made from it and must fit into 63 bytes. */
const TABLE_MAX_BYTES = 40;
/** Any number that nobody else uses: two processes that migrate at once take turns. */
const MIGRATION_LOCK = 6_104_723_301;
const OWN_COLUMNS = ["namespace", "key", "id", "embedding", "value", "metadata", "created_at", "updated_at"];

/** What a collection keeps where. */
export interface CollectionTable<Columns extends FilterColumns> {
  /** As it was given. */
  readonly name: string;
  /** Quoted. */
  readonly quoted: string;
  readonly shape: VectorShape & { readonly distance: Distance };
  readonly columns: Columns;
  /** Quoted names of the columns beside our own. */
  readonly columnNames: readonly string[];
}

/** @throws InvalidInputError naming what cannot be. */
export const describeTable = <Columns extends FilterColumns>(options: {
  readonly table: string;
  readonly shape: VectorShape & { readonly distance: Distance };
  readonly columns: Columns;
}): CollectionTable<Columns> => {
  const { table, shape, columns } = options;
  if (Buffer.byteLength(table) > TABLE_MAX_BYTES) {
    throw new InvalidInputError("table", table, `a name of at most ${TABLE_MAX_BYTES} bytes`);
  }
  if (!Object.hasOwn(DIMENSIONS_MAX, shape.type)) {
    throw new InvalidInputError("type", shape.type, `one of ${Object.keys(DIMENSIONS_MAX).join(", ")}`);
  }
  integerOption("dimensions", shape.dimensions, 1, DIMENSIONS_MAX[shape.type]);
  checkDistance(shape.type, shape.distance);
  const columnNames = Object.keys(columns).map((name) => {
    if (OWN_COLUMNS.includes(name)) {
      throw new InvalidInputError(
        `columns.${name}`,
        name,
        `none of the collection's own (${OWN_COLUMNS.join(", ")})`,
      );
    }
    return quoteIdentifier(name, `columns.${name}`);
  });
  return { name: table, quoted: quoteIdentifier(table, "table"), shape, columns, columnNames };
};

export const nameOfIndex = (table: string, suffix: string): string =>
  quoteIdentifier(`${table}_${suffix}`, "table");

/**
 * Creates the extension, the table and the indexes that filters use, as far as they are missing. In a database
 * with Citus the table is distributed by its namespace. The vector index is built separately, after the load.
 *
 * @throws VectorExtensionError, VectorSchemaMismatchError; nothing was changed.
 */
export const migrateTable = async <Columns extends FilterColumns>(
  database: Database,
  table: CollectionTable<Columns>,
): Promise<void> => {
  await database.transaction(async (tx) => {
    await tx.query("SELECT pg_advisory_xact_lock($1)", [MIGRATION_LOCK]);
    await createExtension(tx);
    await tx.query(tableText(table));
    await checkColumn(tx, table);
    await tx.query(
      `CREATE INDEX IF NOT EXISTS ${nameOfIndex(table.name, "newest")} ON ${table.quoted} (namespace, created_at DESC, id DESC)`,
    );
    await tx.query(
      `CREATE INDEX IF NOT EXISTS ${nameOfIndex(table.name, "metadata")} ON ${table.quoted} USING gin (metadata jsonb_path_ops)`,
    );
    for (const [index, column] of table.columnNames.entries()) {
      await tx.query(
        `CREATE INDEX IF NOT EXISTS ${nameOfIndex(table.name, `filter_${index + 1}`)} ON ${table.quoted} (${column}, namespace)`,
      );
    }
    if (await isDistributable(tx, table)) {
      await tx.query(`SELECT create_distributed_table($1::text::regclass, 'namespace')`, [table.quoted]);
    }
  });
};

const createExtension = async (tx: StatementRunner): Promise<void> => {
  const find = async (): Promise<string | undefined> => {
    const [row] = await tx.query<{ version: string }>(
      "SELECT extversion AS version FROM pg_extension WHERE extname = 'vector'",
    );
    return row?.version;
  };
  let version = await find();
  if (version === undefined) {
    const [offered] = await tx.query("SELECT 1 FROM pg_available_extensions WHERE name = 'vector'");
    if (offered === undefined) throw new VectorExtensionError("is not installed on the server");
    await tx.query("CREATE EXTENSION IF NOT EXISTS vector");
    version = await find();
  }
  const [major = 0, minor = 0] = (version ?? "").split(".").map(Number);
  if (major === 0 && minor < 8)
    throw new VectorExtensionError(`is ${version}; at least ${EXTENSION_MINIMUM} is needed`);
};

const tableText = <Columns extends FilterColumns>({
  quoted,
  shape,
  columns,
}: CollectionTable<Columns>): string => {
  const extra = Object.entries(columns).map(([name, type]) => `${quoteIdentifier(name, name)} ${type},`);
  return `CREATE TABLE IF NOT EXISTS ${quoted} (
    namespace text NOT NULL,
    key text NOT NULL,
    id bigint NOT NULL GENERATED BY DEFAULT AS IDENTITY,
    embedding ${shape.type}(${shape.dimensions}) NOT NULL,
    value text,
    metadata jsonb NOT NULL DEFAULT '{}',
    ${extra.join("\n    ")}
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (namespace, key))`;
};

const checkColumn = async <Columns extends FilterColumns>(
  tx: StatementRunner,
  { name, quoted, shape, columns }: CollectionTable<Columns>,
): Promise<void> => {
  const rows = await tx.query<{ column: string; type: string }>(
    `SELECT attname AS column, format_type(atttypid, atttypmod) AS type FROM pg_attribute
      WHERE attrelid = $1::text::regclass AND attnum > 0 AND NOT attisdropped`,
    [quoted],
  );
  const found = new Map(rows.map(({ column, type }) => [column, type]));
  const wanted = `${shape.type}(${shape.dimensions})`;
  if (found.get("embedding") !== wanted) {
    throw new VectorSchemaMismatchError(name, "embedding", found.get("embedding") ?? "missing", wanted);
  }
  for (const [column, type] of Object.entries(columns)) {
    if (!found.has(column)) throw new VectorSchemaMismatchError(name, column, "missing", type);
  }
};

/** Whether Citus is there and does not know the table yet. */
const isDistributable = async <Columns extends FilterColumns>(
  tx: StatementRunner,
  { quoted }: CollectionTable<Columns>,
): Promise<boolean> => {
  const [citus] = await tx.query("SELECT 1 FROM pg_extension WHERE extname = 'citus'");
  if (citus === undefined) return false;
  const [known] = await tx.query("SELECT 1 FROM pg_dist_partition WHERE logicalrelid = $1::text::regclass", [
    quoted,
  ]);
  return known === undefined;
};

/** The condition of an index that holds one namespace. */
export const namespaceCondition = (namespace: string): string => `namespace = ${quoteLiteral(namespace)}`;
