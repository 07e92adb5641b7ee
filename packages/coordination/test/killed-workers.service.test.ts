import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { createPostgresStore } from "@holdfast/coordination/postgres";
import { startPostgres } from "@holdfast/testkit";
import { describeService } from "@holdfast/testkit/vitest";
import { expect, it, vi } from "vitest";
import { openPg } from "./pg-client.ts";

const WORKER = fileURLToPath(new URL("./processes/worker.ts", import.meta.url));
const TASK_COUNT = 2000;
const KILL_COUNT = 4;

const startWorker = (...args: readonly string[]): ChildProcess =>
  spawn(process.execPath, ["--conditions", "holdfast-source", "--import", "tsx", WORKER, ...args], {
    stdio: ["ignore", "ignore", "inherit"],
  });

const kill = async (child: ChildProcess): Promise<void> => {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const ended = once(child, "exit");
  child.kill("SIGKILL");
  await ended;
};

describeService("postgres", "workers that are killed in the middle of their work", () => {
  it("lose no task, and each task has its effect exactly once", { timeout: 60_000 }, async () => {
    await using server = await startPostgres();
    await using sql = openPg(server.url, 4);
    const schema = "killed";
    await using store = await createPostgresStore({ sql, schema });
    const queue = store.queue("q");
    await sql.query(`CREATE TABLE "${schema}".effects (task text NOT NULL, worker text NOT NULL)`);
    await queue.enqueue(
      Array.from({ length: TASK_COUNT }, (_, index) => ({
        id: `t${index}`,
        type: "a",
        payload: index,
        maxAttempts: 1000,
      })),
    );
    const children = new Set<ChildProcess>();
    try {
      let completed = 0;
      const progress = (by: number): Promise<void> =>
        vi.waitFor(
          async () => {
            const stats = await queue.stats();
            expect(stats.completed).toBeGreaterThanOrEqual(Math.min(TASK_COUNT, completed + by));
            completed = stats.completed;
          },
          { timeout: 40_000, interval: 5 },
        );
      for (let round = 0; round < KILL_COUNT; round += 1) {
        const child = startWorker(server.url, schema, `killed-${round}`);
        children.add(child);
        // It is at work now; where exactly it dies differs from run to run.
        await progress(37 + 50 * round);
        await kill(child);
      }
      children.add(startWorker(server.url, schema, "survivor"));
      await progress(TASK_COUNT);
      expect(await queue.stats()).toMatchObject({ completed: TASK_COUNT, total: TASK_COUNT });
      const [effects] = await sql.query<{ count: number; tasks: number }>(
        `SELECT count(*)::int AS count, count(DISTINCT task)::int AS tasks FROM "${schema}".effects`,
      );
      expect(effects).toEqual({ count: TASK_COUNT, tasks: TASK_COUNT });
    } finally {
      await Promise.all([...children].map(kill));
    }
  });
});
