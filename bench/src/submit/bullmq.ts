import { Queue, Worker } from "bullmq";
import { createClient } from "redis";
import { gathered } from "./gathered.ts";
import type { JobRunner } from "./job-runner.ts";

const IN_PROGRESS = 100;

/** One worker; jobs added in batches and deleted when completed. */
export const startBullmq = async (port: number): Promise<JobRunner> => {
  const connection = createClient({ socket: { host: "127.0.0.1", port } });
  await connection.connect();
  const queue = new Queue<{ readonly number: number }>("no-op", {
    connection,
    defaultJobOptions: { removeOnComplete: true, removeOnFail: true },
  });
  const worker = new Worker<{ readonly number: number }>("no-op", async () => undefined, {
    connection,
    concurrency: IN_PROGRESS,
  });
  const onError = (error: Error): never => {
    throw error;
  };
  queue.on("error", onError);
  worker.on("error", onError);
  const waiting = new Map<number, () => void>();
  worker.on("completed", ({ data: { number } }) => {
    waiting.get(number)?.();
    waiting.delete(number);
  });
  await worker.waitUntilReady();
  const add = gathered((numbers: readonly number[]) =>
    queue.addBulk(numbers.map((number) => ({ name: "no-op", data: { number } }))),
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
      await worker.close();
      await queue.close();
      connection.destroy();
    },
  };
};
