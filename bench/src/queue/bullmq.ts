import { Queue, Worker } from "bullmq";
import { createClient } from "redis";
import { ADD_COUNT, type QueuePeer } from "./queue-peer.ts";

const CONCURRENCY = 100;

/** One worker; jobs added in batches and deleted when completed. */
export const bullmqQueue = async (port: number): Promise<QueuePeer> => {
  const connection = createClient({ socket: { host: "127.0.0.1", port } });
  await connection.connect();
  // Each worker of each round listens on it.
  connection.setMaxListeners(0);
  const queue = new Queue("no-op", {
    connection,
    defaultJobOptions: { removeOnComplete: true, removeOnFail: true },
  });
  const onError = (error: Error): never => {
    throw error;
  };
  queue.on("error", onError);
  return {
    add: async (count, payload) => {
      for (let added = 0; added < count; added += ADD_COUNT) {
        await queue.addBulk(
          Array.from({ length: Math.min(ADD_COUNT, count - added) }, () => ({
            name: "no-op",
            data: { text: payload },
          })),
        );
      }
    },
    addOne: async (payload) => {
      await queue.add("no-op", { text: payload });
    },
    start: async (onRun) => {
      const worker = new Worker("no-op", async () => onRun(), { connection, concurrency: CONCURRENCY });
      worker.on("error", onError);
      await worker.waitUntilReady();
      return { [Symbol.asyncDispose]: () => worker.close() };
    },
    remaining: async () => {
      const { wait, active, prioritized, delayed } = await queue.getJobCounts(
        "wait",
        "active",
        "prioritized",
        "delayed",
      );
      return (wait ?? 0) + (active ?? 0) + (prioritized ?? 0) + (delayed ?? 0);
    },
    [Symbol.asyncDispose]: async () => {
      await queue.close();
      connection.destroy();
    },
  };
};
