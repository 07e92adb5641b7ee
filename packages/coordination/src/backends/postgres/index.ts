export type { SqlClient, SqlExecutor } from "./sql-client.ts";
