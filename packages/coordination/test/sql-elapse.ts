import type { SqlClient } from "@holdfast/coordination";

const MOVED: Readonly<Record<string, readonly string[]>> = {
  states: ["expires_at"],
  tasks: ["run_at", "enqueued_at", "lease_until", "finished_at"],
  dedupe_windows: ["ends_at"],
  queue_settings: ["tokens_at"],
  limit_keys: ["tokens_at"],
};

/**
 * Lets time pass for a store in PostgreSQL: every stored instant moves into the past, table by table. A transaction
 * never holds the rows of one table while it waits for those of another, so it is in nobody's circle of waiting.
 */
export const elapseInSql = async (sql: SqlClient, schema: string, ms: number): Promise<void> => {
  const by = "$1::float8 * interval '1 millisecond'";
  // Fenced transactions that are open keep a share of their lease: the table cannot be locked, but its rows in order.
  await sql.transaction(async (tx) => {
    await tx.query(`SELECT FROM "${schema}".leases ORDER BY name FOR NO KEY UPDATE`);
    await tx.query(`UPDATE "${schema}".leases SET expires_at = expires_at - ${by}`, [ms]);
  });
  for (const [table, columns] of Object.entries(MOVED)) {
    await sql.transaction(async (tx) => {
      await tx.query(`LOCK TABLE "${schema}".${table} IN EXCLUSIVE MODE`);
      const changes = columns.map((column) => `${column} = ${column} - ${by}`);
      await tx.query(`UPDATE "${schema}".${table} SET ${changes.join(", ")}`, [ms]);
    });
  }
};
