import type { SqlClient } from "@holdfast/coordination";

/** Lets time pass for a store in PostgreSQL: every stored instant moves into the past. */
export const elapseInSql = async (sql: SqlClient, schema: string, ms: number): Promise<void> => {
  const by = "$1::float8 * interval '1 millisecond'";
  await sql.transaction(async (tx) => {
    await tx.query(`UPDATE "${schema}".leases SET expires_at = expires_at - ${by}`, [ms]);
    await tx.query(`UPDATE "${schema}".states SET expires_at = expires_at - ${by}`, [ms]);
    // Touches rows in no order, so no other writer of tasks may be under way.
    await tx.query(`LOCK TABLE "${schema}".tasks IN EXCLUSIVE MODE`);
    await tx.query(
      `UPDATE "${schema}".tasks SET run_at = run_at - ${by}, enqueued_at = enqueued_at - ${by},
         lease_until = lease_until - ${by}, finished_at = finished_at - ${by}`,
      [ms],
    );
    await tx.query(`UPDATE "${schema}".dedupe_windows SET ends_at = ends_at - ${by}`, [ms]);
    await tx.query(`UPDATE "${schema}".queue_settings SET tokens_at = tokens_at - ${by}`, [ms]);
    await tx.query(`UPDATE "${schema}".limit_keys SET tokens_at = tokens_at - ${by}`, [ms]);
  });
};
