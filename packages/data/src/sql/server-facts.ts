import type { Database, StatementOptions } from "./database.ts";

/** What a database says of itself and of the connection that asked. */
export interface ServerFacts {
  readonly serverVersion: string;
  readonly database: string;
  readonly user: string;
  /** Undefined: the connection is not encrypted, or there is none. */
  readonly tls: { readonly version: string; readonly cipher: string } | undefined;
  /** Versions of the installed extensions by name. */
  readonly extensions: Readonly<Record<string, string>>;
}

interface FactsRow {
  readonly version: string;
  readonly database: string;
  readonly user: string;
  readonly tls_version: string | null;
  readonly tls_cipher: string | null;
  readonly extensions: Readonly<Record<string, string>>;
}

const FACTS = `SELECT current_setting('server_version') AS version, current_database()::text AS database,
  current_user::text AS "user",
  (SELECT s.version FROM pg_stat_ssl s WHERE s.pid = pg_backend_pid() AND s.ssl) AS tls_version,
  (SELECT s.cipher FROM pg_stat_ssl s WHERE s.pid = pg_backend_pid() AND s.ssl) AS tls_cipher,
  (SELECT coalesce(json_object_agg(extname, extversion), '{}') FROM pg_extension) AS extensions`;

/** One round trip. @throws what `query` throws. */
export const readServerFacts = async (
  database: Pick<Database, "query">,
  options?: StatementOptions,
): Promise<ServerFacts> => {
  const [row] = await database.query<FactsRow>(FACTS, [], options);
  if (row === undefined) throw new TypeError("broken invariant: a SELECT without FROM gave no row");
  const { tls_version: version, tls_cipher: cipher } = row;
  return {
    serverVersion: row.version.split(" ")[0] ?? row.version,
    database: row.database,
    user: row.user,
    tls: version === null || cipher === null ? undefined : { version, cipher },
    extensions: row.extensions,
  };
};
