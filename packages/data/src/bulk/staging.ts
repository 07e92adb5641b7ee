import { InvalidInputError } from "@holdfast/kernel";
import type { Transaction } from "../sql/database.ts";
import { quoteIdentifier } from "../sql/identifier.ts";
import type { ConflictPolicy } from "./bulk-load.ts";

/** The table that a load with a conflict policy goes through; it ends with the transaction. */
export const STAGING_TABLE = "holdfast_load";
export const STAGING = `pg_temp.${STAGING_TABLE}`;
/** The column that keeps the order of the input. */
export const STAGING_ROW = "holdfast_load_row";

/**
 * Makes the staging table with the loaded columns of `table` and their checks, so that COPY tells the row that
 * breaks one. Both names are quoted.
 */
export const stage = async (tx: Transaction, table: string, names: readonly string[]): Promise<void> => {
  await tx.query(
    `DROP TABLE IF EXISTS ${STAGING}; CREATE TEMP TABLE ${STAGING_TABLE} (LIKE ${table} INCLUDING CONSTRAINTS) ON COMMIT DROP`,
  );
  const columns = await tx.query<{ name: string }>(
    `SELECT attname AS name FROM pg_attribute
      WHERE attrelid = '${STAGING}'::regclass AND attnum > 0 AND NOT attisdropped`,
  );
  const quoted = columns.map(({ name }) => quoteIdentifier(name, "column"));
  const unknown = names.find((name) => !quoted.includes(name));
  if (unknown !== undefined) throw new InvalidInputError("columns", unknown, `a column of ${table}`);
  const changes = quoted.filter((name) => !names.includes(name)).map((name) => `DROP COLUMN ${name}`);
  await tx.query(
    `ALTER TABLE ${STAGING} ${[...changes, `ADD COLUMN ${STAGING_ROW} bigint NOT NULL`].join(", ")}`,
  );
};

export interface MergeCounts {
  readonly insertedCount: number;
  readonly updatedCount: number;
  readonly skippedCount: number;
  readonly supersededCount: number;
}

/** Moves the staged rows into the table, as the policy wants it, and counts exactly what became of them. */
export const mergeStaged = async (
  tx: Transaction,
  options: {
    readonly table: string;
    readonly names: readonly string[];
    readonly readCount: number;
    readonly onConflict: Exclude<ConflictPolicy, "refuse">;
  },
): Promise<MergeCounts> => {
  const { table, names, readCount, onConflict } = options;
  const list = names.join(", ");
  const keyOf = (field: string, columns: readonly string[]): readonly string[] => {
    const quoted = columns.map((column) => quoteIdentifier(column, field));
    const missing = quoted.find((column) => !names.includes(column));
    if (quoted.length === 0 || missing !== undefined) {
      throw new InvalidInputError(field, columns, "columns of the load that make a unique key");
    }
    return quoted;
  };
  if ("skip" in onConflict) {
    const key = keyOf("onConflict.skip", onConflict.skip);
    // Citus tells with the command how many rows were tried, so those that came back are counted.
    const [merged] = await tx.query<{ total: number }>(
      `WITH merged AS (
         INSERT INTO ${table} (${list}) SELECT ${list} FROM ${STAGING} ORDER BY ${STAGING_ROW}
           ON CONFLICT (${key.join(", ")}) DO NOTHING RETURNING 1)
       SELECT count(*)::int AS total FROM merged`,
    );
    const rowCount = merged?.total ?? 0;
    return {
      insertedCount: rowCount,
      updatedCount: 0,
      skippedCount: readCount - rowCount,
      supersededCount: 0,
    };
  }
  const key = keyOf("onConflict.update", onConflict.update);
  const distinct = (await maySeveralBeNull(tx, table, onConflict.update))
    ? [...key, `CASE WHEN ${key.map((name) => `${name} IS NULL`).join(" OR ")} THEN ${STAGING_ROW} END`]
    : key;
  const others = names.filter((name) => !key.includes(name));
  const assigned = (others.length === 0 ? key : others).map((name) => `${name} = EXCLUDED.${name}`);
  // A row that was updated carries the lock of the update, one that was inserted does not.
  const [merged] = await tx.query<{ total: number; fresh: number }>(
    `WITH merged AS (
       INSERT INTO ${table} (${list})
         SELECT DISTINCT ON (${distinct.join(", ")}) ${list} FROM ${STAGING} ORDER BY ${distinct.join(", ")}, ${STAGING_ROW} DESC
         ON CONFLICT (${key.join(", ")}) DO UPDATE SET ${assigned.join(", ")} RETURNING (xmax = 0) AS fresh)
     SELECT count(*)::int AS total, count(*) FILTER (WHERE fresh)::int AS fresh FROM merged`,
  );
  const { total = 0, fresh = 0 } = merged ?? {};
  return {
    insertedCount: fresh,
    updatedCount: total - fresh,
    skippedCount: 0,
    supersededCount: readCount - total,
  };
};

/**
 * Whether rows whose key holds NULL are each a row of their own, as in a unique index they are: unless the columns take
 * no NULL, or an index over just them says NULLS NOT DISTINCT.
 */
const maySeveralBeNull = async (
  tx: Transaction,
  table: string,
  columns: readonly string[],
): Promise<boolean> => {
  const [found] = await tx.query<{ nullable: boolean; equal: boolean }>(
    `WITH key AS (
       SELECT array_agg(attnum ORDER BY attnum) AS numbers, bool_or(NOT attnotnull) AS nullable FROM pg_attribute
        WHERE attrelid = $1::text::regclass AND attname = ANY($2::text[]))
     SELECT coalesce(nullable, false) AS nullable,
            EXISTS (SELECT FROM pg_index WHERE indrelid = $1::text::regclass AND indisunique AND indnullsnotdistinct
              AND ARRAY(SELECT number FROM unnest(indkey::int2[]) WITH ORDINALITY AS part(number, place)
                         WHERE place <= indnkeyatts ORDER BY number) = numbers) AS equal
       FROM key`,
    [table, columns],
  );
  return found?.nullable === true && !found.equal;
};
