import { EventEmitter } from "node:events";
import { Logger, makeWorkerUtils, run, type WorkerEvents } from "graphile-worker";
import { Pool } from "pg";
import { ADD_COUNT, type QueuePeer } from "./queue-peer.ts";

const CONCURRENCY = 100;

/** One worker with its local queue, completions in batches and jobs added in batches. */
export const graphileQueue = async (connectionString: string): Promise<QueuePeer> => {
  const logger = new Logger(() => () => undefined);
  const utils = await makeWorkerUtils({ connectionString, logger });
  await utils.migrate();
  const pool = new Pool({ connectionString, max: 2 });
  return {
    add: async (count, payload) => {
      for (let added = 0; added < count; added += ADD_COUNT) {
        const jobs = Array.from({ length: Math.min(ADD_COUNT, count - added) }, () => ({
          identifier: "no-op",
          payload: { text: payload },
        }));
        await utils.addJobs(jobs);
      }
    },
    addOne: async (payload) => {
      await utils.addJob("no-op", { text: payload });
    },
    start: async (onRun) => {
      const runner = await run({
        events: new EventEmitter() as WorkerEvents,
        preset: {
          worker: {
            connectionString,
            logger,
            concurrentJobs: CONCURRENCY,
            maxPoolSize: 10,
            localQueue: { size: 5 * CONCURRENCY },
            completeJobBatchDelay: 0,
            failJobBatchDelay: 0,
          },
        },
        noHandleSignals: true,
        taskList: { "no-op": async () => onRun() },
      });
      return { [Symbol.asyncDispose]: () => runner.stop() };
    },
    remaining: async () => {
      const { rows } = await pool.query("SELECT count(*)::int AS count FROM graphile_worker._private_jobs");
      return rows[0].count as number;
    },
    [Symbol.asyncDispose]: async () => {
      await utils.release();
      await pool.end();
    },
  };
};
