import { hasCode } from "@holdfast/kernel";
import { waitUntil } from "@holdfast/testkit";
import type { Database } from "../src/index.ts";

/**
 * Has commits wait for a standby that nobody is. Resolves once they do: a session may know the setting before the process
 * does that tells commits to wait.
 */
export const makeCommitsWait = async (database: Database): Promise<void> => {
  await database.query("ALTER SYSTEM SET synchronous_standby_names = 'nobody'");
  await database.query("SELECT pg_reload_conf()", []);
  await waitUntil("commits to wait for a standby", () =>
    database
      .query("SELECT pg_logical_emit_message(true, 'probe', '')", [], { timeoutMs: 200 })
      .then(() => false)
      .catch((error) => hasCode(error, "SQL_REPLICATION_UNCONFIRMED")),
  );
};
