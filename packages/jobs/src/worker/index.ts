export { createWorker } from "./create-worker.ts";
export type { Execution, Executor, ShardOutcome, ShardUpdate } from "./executor.ts";
export { createInlineExecutor, type InlineExecutorOptions } from "./inline-executor.ts";
export { createThreadExecutor, type ThreadExecutorOptions } from "./thread/thread-executor.ts";
export type { Worker, WorkerState, WorkerStats } from "./worker.ts";
export type { EffectRequest, EffectRunner, WorkerDatabase } from "./worker-database.ts";
export type { WorkerOptions } from "./worker-options.ts";
export { loadWorkflowModule } from "./workflow-module.ts";
