import type { StatementRunner } from "../sql/database.ts";

/** What can be compared between a database and its restored copy. */
export interface DatabaseFingerprint {
  readonly takenAt: string;
  /** Rows and the sum of a hash of each, by `schema.table`. */
  readonly tables: Readonly<Record<string, TableFingerprint>>;
  /** Definitions of the valid indexes, by `schema.index`. */
  readonly indexes: Readonly<Record<string, string>>;
  /** Definitions of the validated constraints, by `schema.table.constraint`. */
  readonly constraints: Readonly<Record<string, string>>;
}

export interface TableFingerprint {
  readonly rowCount: number;
  /** Independent of the order of rows. */
  readonly checksum: string;
}

const SYSTEM_SCHEMAS = "('pg_catalog', 'information_schema', 'pg_toast')";

/**
 * Counts and hashes every row of every table, and lists valid indexes and constraints. Reads everything once: take
 * it in a transaction "repeatable read", so that all of it is of one moment.
 *
 * @param tables Default: all ordinary tables, as `schema.table`.
 */
export const fingerprintDatabase = async (
  database: StatementRunner,
  options: { readonly tables?: readonly string[] } = {},
): Promise<DatabaseFingerprint> => {
  const [now] = await database.query<{ at: Date }>("SELECT clock_timestamp() AS at");
  const found = await database.query<{ name: string; quoted: string }>(
    `SELECT n.nspname || '.' || c.relname AS name, format('%I.%I', n.nspname, c.relname) AS quoted
       FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
      WHERE c.relkind = 'r' AND c.relpersistence = 'p' AND n.nspname NOT IN ${SYSTEM_SCHEMAS} ORDER BY 1`,
  );
  const tables: Record<string, TableFingerprint> = {};
  for (const { name, quoted } of found) {
    if (options.tables !== undefined && !options.tables.includes(name)) continue;
    const [row] = await database.query<{ count: string; sum: string }>(
      `SELECT count(*) AS count, coalesce(sum(hashtextextended(t::text, 0)::numeric), 0)::text AS sum FROM ${quoted} AS t`,
    );
    tables[name] = { rowCount: Number(row?.count ?? 0), checksum: row?.sum ?? "" };
  }
  const indexes = await database.query<{ name: string; definition: string }>(
    `SELECT n.nspname || '.' || c.relname AS name, pg_get_indexdef(x.indexrelid) AS definition
       FROM pg_index x JOIN pg_class c ON c.oid = x.indexrelid JOIN pg_namespace n ON n.oid = c.relnamespace
      WHERE x.indisvalid AND x.indisready AND n.nspname NOT IN ${SYSTEM_SCHEMAS} ORDER BY 1`,
  );
  const constraints = await database.query<{ name: string; definition: string }>(
    `SELECT n.nspname || '.' || c.relname || '.' || k.conname AS name, pg_get_constraintdef(k.oid) AS definition
       FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace
      WHERE k.convalidated AND n.nspname NOT IN ${SYSTEM_SCHEMAS} ORDER BY 1`,
  );
  const byName = (rows: readonly { name: string; definition: string }[]): Record<string, string> =>
    Object.fromEntries(rows.map(({ name, definition }) => [name, definition]));
  return {
    takenAt: (now?.at ?? new Date(0)).toISOString(),
    tables,
    indexes: byName(indexes),
    constraints: byName(constraints),
  };
};

/** Where the copy differs from what is expected, one sentence each; empty when it does not. What is only in the copy is no difference. */
export const fingerprintDifferences = (
  expected: DatabaseFingerprint,
  found: DatabaseFingerprint,
): readonly string[] => {
  const differences: string[] = [];
  for (const [name, table] of Object.entries(expected.tables)) {
    const copy = found.tables[name];
    if (copy === undefined) differences.push(`table ${name} is missing`);
    else if (copy.rowCount !== table.rowCount) {
      differences.push(`table ${name} has ${copy.rowCount} rows instead of ${table.rowCount}`);
    } else if (copy.checksum !== table.checksum) differences.push(`table ${name} has other rows (checksum)`);
  }
  for (const kind of ["indexes", "constraints"] as const) {
    for (const [name, definition] of Object.entries(expected[kind])) {
      const what = kind === "indexes" ? "index" : "constraint";
      const copy = found[kind][name];
      if (copy === undefined) differences.push(`${what} ${name} is missing or not valid`);
      else if (copy !== definition) differences.push(`${what} ${name} is another one`);
    }
  }
  return differences;
};
