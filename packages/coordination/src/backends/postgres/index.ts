export type { SqlClient, SqlExecutor } from "./sql-client.ts";
export { createPostgresStore, type PostgresStoreOptions } from "./store.ts";
