import type { TaskQueue } from "@holdfast/coordination";
import { createPostgresStore } from "@holdfast/coordination/postgres";
import { createRedisStore } from "@holdfast/coordination/redis";
import { openPostgres, openRedis } from "@holdfast/data";
import { startPostgres, startRedis } from "@holdfast/testkit";
import { describeService } from "@holdfast/testkit/vitest";
import { expect, it } from "vitest";
import { runHoldfast } from "./holdfast-command.ts";

/** A queue with one dead, one completed and one pending task, looked after from the command line. */
const lookAfter = async (queue: TaskQueue<never>, url: string): Promise<void> => {
  const holdfast = async (...args: string[]) => {
    const end = await runHoldfast(["queue", ...args, "--json"], { env: { HOLDFAST_STORE: url } });
    return { code: end.code, answer: JSON.parse(end.lines.at(-1) ?? "null") as Record<string, unknown> };
  };
  await queue.enqueue(
    ["dead", "done", "open"].map((id) => ({ id, type: "mail", payload: id, maxAttempts: 1 })),
  );
  const [dead, done] = await queue.claim({ worker: "w", maxCount: 2, leaseMs: 60_000 });
  if (!dead || !done) throw new Error("two claims expected");
  await queue.fail([{ ...dead, error: { message: "no such address" } }]);
  await queue.complete([done]);

  expect(await holdfast("stats", "mail")).toMatchObject({
    code: 0,
    answer: { queue: "mail", pending: 1, completed: 1, dead: 1, total: 3, paused: false, limits: null },
  });
  expect((await holdfast("dead", "mail")).answer).toMatchObject({
    tasks: [{ id: "dead", state: "dead", failures: [{ attempt: 1, error: { message: "no such address" } }] }],
  });
  expect((await runHoldfast(["queue", "dead", "mail", "--store", url])).output).toContain("no such address");
  expect(await holdfast("retry", "mail", "dead", "open")).toEqual({
    code: 1,
    answer: { queue: "mail", requeued: ["dead"], notDead: ["open"] },
  });
  expect((await holdfast("pause", "mail")).answer).toEqual({ queue: "mail", paused: true });
  expect(await queue.claim({ worker: "w", maxCount: 9, leaseMs: 60_000 })).toEqual([]);
  expect((await holdfast("resume", "mail")).answer).toEqual({ queue: "mail", paused: false });
  const again = await queue.claim({ worker: "w", maxCount: 9, leaseMs: 60_000 });
  expect(again.map(({ id }) => id).sort()).toEqual(["dead", "open"]);
  await queue.fail(again.map((task) => ({ ...task, error: "e" })));
  expect((await holdfast("retry", "mail", "--all")).answer).toMatchObject({ requeued: ["dead", "open"] });
  expect((await holdfast("purge", "mail", "--older-than", "1ms")).answer).toEqual({
    queue: "mail",
    purged: 1,
  });
  expect((await queue.stats()).total).toBe(2);
};

describeService("postgres", "queue commands on PostgreSQL", () => {
  it("count, list, retry, purge, pause and resume", { timeout: 180_000 }, async () => {
    await using server = await startPostgres();
    await using sql = await openPostgres({ url: server.url });
    await using store = await createPostgresStore({ sql });
    await lookAfter(store.queue("mail"), server.url);
  });
});

describeService("redis", "queue commands on Redis", () => {
  it("find the same queue behind another address", { timeout: 180_000 }, async () => {
    await using server = await startRedis();
    await using redis = openRedis({ url: server.url });
    await using store = await createRedisStore({ redis });
    const queue = store.queue("mail");
    await queue.enqueue([{ id: "dead", type: "mail", payload: 1, maxAttempts: 1 }]);
    await queue.fail(
      (await queue.claim({ worker: "w", maxCount: 1, leaseMs: 60_000 })).map((task) => ({
        ...task,
        error: "e",
      })),
    );
    const retried = await runHoldfast(["queue", "retry", "mail", "--all", "--store", server.url]);
    expect(retried).toMatchObject({ code: 0, output: expect.stringContaining("1 put back") });
    const stats = await runHoldfast(["queue", "stats", "mail", "--json", "--store", server.url]);
    expect(JSON.parse(stats.lines.at(-1) ?? "")).toMatchObject({ pending: 1, retrying: 1, total: 1 });
  });

  it("say what is missing or wrong, without a password, and exit 2", { timeout: 120_000 }, async () => {
    for (const [args, message] of [
      [["stats", "mail"], "which store?"],
      [["stats", "mail", "--store", "mysql://me:secret@host/db"], "--store must be"],
      [["retry", "mail", "--store", "redis://127.0.0.1:1"], "name the tasks to retry"],
      [["purge", "mail", "--store", "redis://127.0.0.1:1", "--states", "pending"], "--states must be of"],
    ] as const) {
      const end = await runHoldfast(["queue", ...args], {
        env: { HOLDFAST_STORE: "", HOLDFAST_DATABASE: "" },
      });
      expect(end.code).toBe(2);
      expect(end.output).toContain(message);
      expect(end.output).not.toContain("secret");
    }
  });
});
