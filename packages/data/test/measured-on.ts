import type { RedisServer } from "@holdfast/testkit";
import type { Database } from "../src/index.ts";

/** The server behind a database, as figures name it. */
export const measuredOn = async (database: Pick<Database, "query">): Promise<string> => {
  const [row] = await database.query<{ version: string }>(
    "SELECT current_setting('server_version') AS version",
    [],
  );
  return `PostgreSQL ${row?.version}`;
};

export const measuredOnRedis = async (server: RedisServer): Promise<string> =>
  `Redis ${/redis_version:(\S+)/.exec(String(await server.command("INFO", "server")))?.[1]}`;
