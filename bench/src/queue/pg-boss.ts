import { Pool } from "pg";
import { PgBoss } from "pg-boss";
import { ADD_COUNT, type QueuePeer } from "./queue-peer.ts";

const FETCH_COUNT = 500;
const LOOPS = 4;

/** Fetched and completed in batches by four loops, which is faster than its polling workers. */
export const pgBossQueue = async (connectionString: string): Promise<QueuePeer> => {
  const boss = new PgBoss({ connectionString, max: 10, supervise: false, schedule: false });
  boss.on("error", () => undefined);
  await boss.start();
  await boss.createQueue("no-op");
  const pool = new Pool({ connectionString, max: 2 });
  return {
    add: async (count, payload) => {
      for (let added = 0; added < count; added += ADD_COUNT) {
        await boss.insert(
          "no-op",
          Array.from({ length: Math.min(ADD_COUNT, count - added) }, () => ({ data: { text: payload } })),
        );
      }
    },
    addOne: async (payload) => {
      await boss.send("no-op", { text: payload });
    },
    start: async (onRun) => {
      let isStopped = false;
      const loop = async (): Promise<void> => {
        while (!isStopped) {
          const jobs = await boss.fetch("no-op", { batchSize: FETCH_COUNT });
          for (const _job of jobs) onRun();
          if (jobs.length > 0) {
            await boss.complete(
              "no-op",
              jobs.map(({ id }) => id),
            );
          } else await new Promise((resolve) => setTimeout(resolve, 2));
        }
      };
      const loops = Array.from({ length: LOOPS }, loop);
      return {
        [Symbol.asyncDispose]: async () => {
          isStopped = true;
          await Promise.all(loops);
          await boss.deleteStoredJobs("no-op");
        },
      };
    },
    remaining: async () => {
      const { rows } = await pool.query(
        "SELECT count(*)::int AS count FROM pgboss.job WHERE name = 'no-op' AND state < 'completed'",
      );
      return rows[0].count as number;
    },
    [Symbol.asyncDispose]: async () => {
      await boss.stop({ graceful: false });
      await pool.end();
    },
  };
};
