import type { Abortable } from "@holdfast/kernel";
import { SchemaTooNewError } from "../../errors.ts";
import type { SqlExecutor } from "./sql-client.ts";
import { readMigrations } from "./sql-files.ts";
import type { StatementRunner } from "./statement-runner.ts";

/**
 * Brings the schema to the version that this program knows, in one transaction. Programs that start at the
 * same time do it one after the other; a schema that is up to date is only read.
 * @throws SchemaTooNewError when a newer program was here; nothing is changed.
 */
export const migrate = async (
  statements: StatementRunner,
  schema: string,
  options: Abortable = {},
): Promise<void> => {
  const migrations = await readMigrations(schema);
  await statements.ownTransaction(
    "migration of the store",
    async (tx) => {
      // Waits for another program that is migrating this schema. Ends with the transaction.
      await tx.query("SELECT pg_advisory_xact_lock(hashtextextended($1::text, 0))", [`holdfast:${schema}`]);
      const version = await currentVersion(tx, schema);
      if (version > migrations.length) throw new SchemaTooNewError(version, migrations.length);
      for (const statements of migrations.slice(version)) {
        for (const statement of statements) await tx.query(statement);
      }
      if (version < migrations.length) {
        await tx.query(
          `UPDATE "${schema}".schema_version SET version = $1::int, changed_at = clock_timestamp()`,
          [migrations.length],
        );
      }
      await keepTokensGrowing(tx, schema);
    },
    options,
  );
};

const currentVersion = async (tx: SqlExecutor, schema: string): Promise<number> => {
  const [found] = await tx.query<{ has_schema: boolean; has_version: boolean }>(
    `SELECT to_regnamespace($1::text) IS NOT NULL AS has_schema,
            to_regclass($1::text || '.schema_version') IS NOT NULL AS has_version`,
    [`"${schema}"`],
  );
  // CREATE SCHEMA IF NOT EXISTS needs a right on the database even when there is nothing to create.
  if (found?.has_schema !== true) await tx.query(`CREATE SCHEMA "${schema}"`);
  if (found?.has_version !== true) {
    await tx.query(
      `CREATE TABLE "${schema}".schema_version (
         version integer NOT NULL,
         timeline bigint NOT NULL DEFAULT 0,
         changed_at timestamptz NOT NULL DEFAULT clock_timestamp())`,
    );
    await tx.query(`INSERT INTO "${schema}".schema_version (version) VALUES (0)`);
  }
  const [row] = await tx.query<{ version: number }>(`SELECT version FROM "${schema}".schema_version`);
  return Number(row?.version ?? 0);
};

/**
 * The high part of a token is the server's timeline, which starts over when a dump is loaded into a new
 * server. Then the low part is raised by what the high part lost.
 */
const keepTokensGrowing = async (tx: SqlExecutor, schema: string): Promise<void> => {
  const [row] = await tx.query<{ lost: string }>(
    `SELECT v.timeline - "${schema}".server_timeline() AS lost FROM "${schema}".schema_version v`,
  );
  const lost = BigInt(row?.lost ?? 0);
  if (lost > 0n) {
    await tx.query(
      `SELECT setval('"${schema}".fence_tokens', nextval('"${schema}".fence_tokens') + ($1::bigint << 40))`,
      [lost.toString()],
    );
  }
  if (lost !== 0n) {
    await tx.query(`UPDATE "${schema}".schema_version SET timeline = "${schema}".server_timeline()`);
  }
};
