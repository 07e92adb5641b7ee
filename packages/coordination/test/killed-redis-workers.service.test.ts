import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { createRedisStore, type FastStore } from "@holdfast/coordination/redis";
import { startRedis } from "@holdfast/testkit";
import { describeService } from "@holdfast/testkit/vitest";
import { expect, it, vi } from "vitest";
import { openRedis } from "./redis-client.ts";

const WORKER = fileURLToPath(new URL("./processes/redis-worker.ts", import.meta.url));
const TASK_COUNT = 3000;

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

interface Told {
  readonly id: string;
  readonly token: string;
  readonly outcome?: string;
}

const readAll = async (store: FastStore, stream: string): Promise<readonly Told[]> => {
  const told: Told[] = [];
  for (let after: { epoch: bigint; offset: bigint } | undefined; ; ) {
    const read = await store.log.read(stream, { limit: 1000, ...(after === undefined ? {} : { after }) });
    if (read.kind === "reset") throw new Error("the history was trimmed");
    if (read.entries.length === 0) return told;
    told.push(...read.entries.map(({ payload }) => payload as unknown as Told));
    after = read.entries.at(-1)?.position;
  }
};

describeService("redis", "workers on Redis that are killed, or stopped beyond their lease", () => {
  it(
    "lose no task, complete none twice, and complete only under a task's newest token",
    {
      timeout: 90_000,
    },
    async () => {
      await using server = await startRedis();
      await using redis = await openRedis(server.url);
      await using store = await createRedisStore({ redis });
      const queue = store.queue("q");
      await queue.enqueue(
        Array.from({ length: TASK_COUNT }, (_, index) => ({
          id: `t${index}`,
          type: "a",
          payload: index,
          maxAttempts: 1000,
        })),
      );
      const children = new Set<ChildProcess>();
      const add = (name: string): ChildProcess => {
        const child = startWorker(server.url, name);
        children.add(child);
        return child;
      };
      const reach = (count: number): Promise<void> =>
        vi.waitFor(
          async () =>
            expect((await queue.stats()).completed).toBeGreaterThanOrEqual(Math.min(count, TASK_COUNT)),
          { timeout: 60_000, interval: 5 },
        );
      try {
        const stopped = add("stopped");
        await reach(50);
        // It sleeps over the end of its leases and then goes on as if nothing had happened.
        stopped.kill("SIGSTOP");
        for (let round = 0; round < 3; round += 1) {
          const child = add(`killed-${round}`);
          const { completed } = await queue.stats();
          await reach(completed + 60 + 40 * round);
          await kill(child);
        }
        stopped.kill("SIGCONT");
        add("survivor");
        await reach(TASK_COUNT);
        expect(await queue.stats()).toMatchObject({ completed: TASK_COUNT, total: TASK_COUNT, claimed: 0 });
      } finally {
        await Promise.all([...children].map(kill));
      }

      const tokens = new Map<string, bigint>();
      for (const { id, token } of await readAll(store, "claims")) {
        const newest = tokens.get(id) ?? 0n;
        if (BigInt(token) > newest) tokens.set(id, BigInt(token));
      }
      const completed = (await readAll(store, "ends")).filter(({ outcome }) => outcome === "completed");
      expect(new Set(completed.map(({ id }) => id)).size).toBe(completed.length);
      for (const { id, token } of completed) expect(tokens.get(id)).toBe(BigInt(token));
    },
  );
});
