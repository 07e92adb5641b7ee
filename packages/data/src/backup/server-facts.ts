import type { Database } from "../sql/database.ts";
import { RestoreTargetError } from "./backup-errors.ts";

/** What a backup must know of the server. */
export interface ServerFacts {
  readonly version: string;
  readonly major: number;
  readonly systemIdentifier: string;
  readonly archiveMode: string;
  readonly archiveCommand: string;
  readonly segmentBytes: number;
  readonly tablespaceCount: number;
}

export const readServer = async (database: Database): Promise<ServerFacts> => {
  const [row] = await database.query<ServerFacts>(
    `SELECT current_setting('server_version_num')::int / 10000 AS major,
            current_setting('archive_mode') AS "archiveMode", current_setting('archive_command') AS "archiveCommand",
            (SELECT setting::int FROM pg_settings WHERE name = 'wal_segment_size') AS "segmentBytes",
            (SELECT system_identifier::text FROM pg_control_system()) AS "systemIdentifier",
            (SELECT count(*)::int FROM pg_tablespace WHERE spcname NOT IN ('pg_default', 'pg_global')) AS "tablespaceCount"`,
  );
  if (row === undefined) throw new RestoreTargetError("the server tells nothing about itself");
  return { ...row, version: database.serverVersion };
};

/** An address that libpq reads, and the password apart: a command line is seen by everybody. */
export const withoutPassword = (
  url: string,
): { readonly connection: string; readonly env: Record<string, string> } => {
  const parsed = new URL(url);
  const password = decodeURIComponent(parsed.password);
  parsed.password = "";
  return { connection: parsed.href, env: password === "" ? {} : { PGPASSWORD: password } };
};
