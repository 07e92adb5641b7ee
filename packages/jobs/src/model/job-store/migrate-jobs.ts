import { SchemaTooNewError } from "@holdfast/coordination";
import type { SqlClient } from "@holdfast/coordination/postgres";
import type { Abortable } from "@holdfast/kernel";
import { sql0001 } from "./migrations/0001-jobs.ts";

/** In order; a migration that was released is never changed. */
const MIGRATIONS: readonly ((schema: string) => string)[] = [sql0001];

/**
 * Brings the tables of jobs in `schema` (a checked name) to this version. Two programs that start at once wait
 * for each other.
 * @throws SchemaTooNewError when a newer program was here; nothing is changed.
 */
export const migrateJobs = (client: SqlClient, schema: string, options: Abortable = {}): Promise<void> =>
  client.transaction(async (tx) => {
    await tx.query("SELECT pg_advisory_xact_lock(hashtextextended($1, 0))", [`holdfast jobs ${schema}`]);
    await tx.query(`CREATE SCHEMA IF NOT EXISTS ${schema}`, []);
    await tx.query(
      `CREATE TABLE IF NOT EXISTS ${schema}.jobs_version (only_row boolean PRIMARY KEY CHECK (only_row), version int NOT NULL)`,
      [],
    );
    const rows = await tx.query<{ version: number }>(`SELECT version FROM ${schema}.jobs_version`, []);
    const found = rows[0]?.version ?? 0;
    if (found > MIGRATIONS.length) throw new SchemaTooNewError(found, MIGRATIONS.length);
    for (const migration of MIGRATIONS.slice(found)) {
      for (const statement of statements(migration(schema))) await tx.query(statement, []);
    }
    if (found === MIGRATIONS.length) return;
    await tx.query(
      `INSERT INTO ${schema}.jobs_version (only_row, version) VALUES (true, $1::int)
       ON CONFLICT (only_row) DO UPDATE SET version = excluded.version`,
      [MIGRATIONS.length],
    );
  }, options);

/** Our migrations hold no semicolon inside a statement. */
const statements = (text: string): readonly string[] =>
  text
    .split(";")
    .map((statement) => statement.trim())
    .filter((statement) => statement !== "");
