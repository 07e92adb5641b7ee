import type { Database } from "@holdfast/data";
import { UsageError } from "../terminal/problem.ts";

/** A schema name for a cell: letters, digits and `_` only, so that it needs no quoting by hand. */
export const schemaFor = (prefix: string, name: string): string =>
  `${prefix}_${name.toLowerCase().replaceAll(/[^a-z0-9_]/g, "_")}`.slice(0, 63);

/**
 * Writes down whose schema this is; it must be there already. Two datacenters in one schema would be one: of jobs, each
 * would count twice; of effects, one datacenter would be given the results of the other, whose shards have the same names.
 * @throws UsageError naming the datacenter that was here first.
 */
export const claimSchema = async (options: {
  readonly database: Database;
  readonly schema: string;
  readonly datacenter: string;
}): Promise<void> => {
  const { database, schema, datacenter } = options;
  const owner = await database.transaction(async (tx) => {
    await tx.query("SELECT pg_advisory_xact_lock(hashtextextended($1, 0))", [
      `holdfast datacenter of ${schema}`,
    ]);
    await tx.query(
      `CREATE TABLE IF NOT EXISTS ${schema}.datacenter (only_row boolean PRIMARY KEY CHECK (only_row), name text NOT NULL)`,
    );
    await tx.query(
      `INSERT INTO ${schema}.datacenter (only_row, name) VALUES (true, $1) ON CONFLICT (only_row) DO NOTHING`,
      [datacenter],
    );
    const [row] = await tx.query<{ name: string }>(`SELECT name FROM ${schema}.datacenter`);
    return row?.name ?? datacenter;
  });
  if (owner === datacenter) return;
  throw new UsageError(
    `--datacenter: ${datacenter} would share the schema ${schema} with ${owner}; choose a name that differs from it in its letters a to z and digits, or another database`,
  );
};
