export { createMemoryJobStore } from "./memory-job-store.ts";
export { shardJobs } from "./shard-jobs.ts";
export { createSqlJobStore, type SqlJobStoreOptions } from "./sql-job-store.ts";
