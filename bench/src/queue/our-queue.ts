import { type NewTask, runWorker, type TaskQueue } from "@holdfast/coordination";
import { ADD_COUNT, type QueuePeer } from "./queue-peer.ts";

/** As many as the peers run at a time, and as many ahead as the largest of their buffers. */
const CONCURRENCY = 100;
const PREFETCH = 1_900;

/** Our worker on a queue of any store. Completed tasks are deleted, as the peers do. */
export const ourQueue = (queue: TaskQueue<never>, close: () => Promise<void>): QueuePeer => {
  const task = (payload: string): NewTask => ({
    type: "no-op",
    payload: { text: payload },
    keepCompleted: false,
  });
  return {
    add: async (count, payload) => {
      for (let added = 0; added < count; added += ADD_COUNT) {
        await queue.enqueue(Array.from({ length: Math.min(ADD_COUNT, count - added) }, () => task(payload)));
      }
    },
    addOne: async (payload) => {
      await queue.enqueue([task(payload)]);
    },
    start: async (onRun) => {
      const controller = new AbortController();
      const ended = runWorker({
        queue,
        worker: "bench",
        handlers: {
          "no-op": async () => {
            onRun();
            return undefined;
          },
        },
        concurrency: CONCURRENCY,
        prefetch: PREFETCH,
        signal: controller.signal,
      });
      return {
        [Symbol.asyncDispose]: async () => {
          controller.abort(new Error("done"));
          await ended;
        },
      };
    },
    remaining: async () => (await queue.stats()).total,
    [Symbol.asyncDispose]: close,
  };
};
