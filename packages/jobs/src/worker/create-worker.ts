import type { Executor } from "./executor.ts";
import { createInlineExecutor } from "./inline-executor.ts";
import { createThreadExecutor } from "./thread/thread-executor.ts";
import type { Worker } from "./worker.ts";
import { noticingRefusals } from "./worker-database.ts";
import { WorkerNode } from "./worker-node.ts";
import { checkWorkerOptions, type WorkerOptions } from "./worker-options.ts";

/**
 * Starts a worker: loads its workflows, then connects to its managers and works until stopped. Managers that
 * cannot be reached are tried again for ever.
 * @throws InvalidInputError naming the option; WorkflowModuleError, DuplicateWorkflowError when the workflows
 * do not load. Nothing is left behind.
 */
export const createWorker = async (options: WorkerOptions): Promise<Worker> => {
  checkWorkerOptions(options);
  let refusedEffects = 0;
  const { database } = options;
  const noticing =
    database === undefined
      ? options
      : { ...options, database: noticingRefusals(database, () => (refusedEffects += 1)) };
  const executor = executorOf(noticing);
  try {
    const catalog = await executor.start();
    return new WorkerNode(options, { executor, catalog, refusedEffects: () => refusedEffects });
  } catch (error) {
    await executor.close();
    throw error;
  }
};

const executorOf = (options: WorkerOptions): Executor => {
  const {
    executor,
    registry,
    modulePath = "",
    nodeId,
    cores,
    clock,
    logger,
    database,
    threadMemoryMb,
  } = options;
  if (executor !== undefined) return executor;
  const common = { nodeId, clock, ...(database === undefined ? {} : { database }) };
  if (registry !== undefined) return createInlineExecutor({ ...common, registry });
  return createThreadExecutor({
    ...common,
    modulePath,
    cores,
    logger,
    ...(threadMemoryMb === undefined ? {} : { memoryMb: threadMemoryMb }),
  });
};
