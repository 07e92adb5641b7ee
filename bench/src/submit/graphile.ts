import { EventEmitter } from "node:events";
import { Logger, makeWorkerUtils, run, type WorkerEvents } from "graphile-worker";
import { gathered } from "./gathered.ts";
import type { JobRunner } from "./job-runner.ts";

const IN_PROGRESS = 100;

/** One worker with its local queue, completions in batches and jobs added in batches. */
export const startGraphile = async (connectionString: string): Promise<JobRunner> => {
  const logger = new Logger(() => () => undefined);
  const events = new EventEmitter() as WorkerEvents;
  const waiting = new Map<number, () => void>();
  // Said when the task has returned; the batch with its completion may still be on its way.
  events.on("job:complete", ({ job }) => {
    const { number } = job.payload as { readonly number: number };
    waiting.get(number)?.();
    waiting.delete(number);
  });
  const utils = await makeWorkerUtils({ connectionString, logger });
  await utils.migrate();
  const runner = await run({
    events,
    preset: {
      worker: {
        connectionString,
        logger,
        concurrentJobs: IN_PROGRESS,
        maxPoolSize: 10,
        localQueue: { size: 5 * IN_PROGRESS },
        completeJobBatchDelay: 0,
        failJobBatchDelay: 0,
      },
    },
    noHandleSignals: true,
    taskList: { "no-op": async () => undefined },
  });
  const add = gathered((numbers: readonly number[]) =>
    utils.addJobs(numbers.map((number) => ({ identifier: "no-op", payload: { number } }))),
  );
  let last = 0;
  return {
    run: async () => {
      last += 1;
      const number = last;
      const completed = new Promise<void>((resolve) => waiting.set(number, resolve));
      await add(number);
      await completed;
    },
    [Symbol.asyncDispose]: async () => {
      await runner.stop();
      await utils.release();
    },
  };
};
