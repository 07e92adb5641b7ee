export { createMemoryJobStore } from "./memory-job-store.ts";
export { createSqlJobStore, type SqlJobStoreOptions } from "./sql-job-store.ts";
