import { createRedisStore } from "@holdfast/coordination/redis";
import { describeService } from "@holdfast/testkit/vitest";
import { expect, it, vi } from "vitest";
import type { NewTask, TaskQueue } from "../src/queue/task-queue.ts";
import { elapseInQueue } from "./redis-elapse.ts";
import { suiteRedis } from "./suite-redis.ts";

/** Long enough to be stored beside their tasks, in several pieces, and no two alike. */
const payloadOf = (index: number): { index: number; text: string } => ({
  index,
  text: `${"é😀\n".repeat(index % 7)}${"word ".repeat(200 + (index % 90))}`,
});
const tasksOf = (count: number, more: Partial<NewTask> = {}): readonly NewTask[] =>
  Array.from({ length: count }, (_, index) => ({ type: "t", payload: payloadOf(index), ...more }));

describeService("redis", "long payloads of tasks that are added together", () => {
  const shared = suiteRedis();
  let namespaceCount = 0;

  const setUp = async () => {
    namespaceCount += 1;
    const namespace = `payloads-${namespaceCount}`;
    const store = await createRedisStore({ redis: shared.redis, namespace });
    const keysOf = async (part: string): Promise<readonly string[]> => {
      const head = `{${namespace}:queue:q}:`;
      const keys = (await shared.server.command("KEYS", `${head}${part}`)) as string[];
      return keys.map((key) => key.slice(head.length)).sort();
    };
    return {
      queue: store.queue("q"),
      keysOf,
      pieces: async () => (await keysOf("d:*")).length,
      elapse: (ms: number) => elapseInQueue(shared.server, namespace, "q", ms),
      damage: async () => {
        for (const key of await keysOf("d:*"))
          await shared.server.command("DEL", `{${namespace}:queue:q}:${key}`);
      },
      [Symbol.asyncDispose]: () => store.close(),
    };
  };
  const claim = (queue: TaskQueue<never>, maxCount: number) =>
    queue.claim({ worker: "w", maxCount, leaseMs: 1000 });

  it("come to whoever claims their tasks as they were, in order, however many are claimed at a time", async () => {
    await using place = await setUp();
    const { queue } = place;
    const ids = await queue.enqueue(tasksOf(400));
    expect(await place.pieces()).toBeGreaterThan(3);
    const claimed = [];
    for (const count of [1, 2, 3, 100, 7, 400]) claimed.push(...(await claim(queue, count)));
    expect(claimed.map(({ id }) => id)).toEqual(ids);
    expect(claimed.map(({ payload }) => payload)).toEqual(tasksOf(400).map(({ payload }) => payload));
    expect(await queue.get(ids[399] as string)).toMatchObject({ state: "claimed", payload: payloadOf(399) });
  });

  it("are mixed with short ones, and with tasks that came otherwise", async () => {
    await using place = await setUp();
    const { queue } = place;
    const mixed = tasksOf(300).map((task, index) => (index % 3 === 0 ? { ...task, payload: index } : task));
    await queue.enqueue(mixed);
    await queue.enqueue([{ id: "own", type: "t", payload: payloadOf(5), group: "g" }]);
    await queue.enqueue(tasksOf(200, { priority: "high" }));
    await queue.enqueue(tasksOf(200, { type: "u" }));
    const claimed = await claim(queue, 1000);
    expect(claimed.map(({ payload }) => payload)).toEqual([
      ...tasksOf(200).map(({ payload }) => payload),
      ...mixed.map(({ payload }) => payload),
      payloadOf(5),
      ...tasksOf(200).map(({ payload }) => payload),
    ]);
  });

  it("leave nothing behind when their tasks are done, whatever became of these", async () => {
    await using place = await setUp();
    const { queue } = place;
    const left = ["seq", "token"];
    await queue.enqueue(tasksOf(300, { keepCompleted: false, maxAttempts: 2 }));
    const [failing, broken, ...others] = await claim(queue, 300);
    await queue.complete(others);
    expect(await place.pieces()).toBe(1);
    // Those that stay do not keep the payloads of all the others.
    await queue.fail([
      { ...(failing as (typeof others)[0]), error: "again", retryDelayMs: 0 },
      { ...(broken as (typeof others)[0]), error: "no", retry: false },
    ]);
    expect(await place.pieces()).toBe(0);
    expect(await queue.list({ states: ["dead"] })).toMatchObject([{ payload: payloadOf(1) }]);
    const again = await claim(queue, 9);
    expect(again).toMatchObject([{ attempt: 2, payload: payloadOf(0) }]);
    await queue.complete(again);
    expect(await queue.requeueDead([broken?.id as string])).toHaveLength(1);
    await queue.complete(await claim(queue, 9));
    await queue.nextDueInMs();
    expect(await place.keysOf("*")).toEqual(left);

    await queue.enqueue(tasksOf(200, { keepCompleted: true }));
    await queue.complete(await claim(queue, 150));
    expect((await queue.list({ states: ["completed"], limit: 1000 })).map(({ payload }) => payload)).toEqual(
      tasksOf(150).map(({ payload }) => payload),
    );
    await queue.complete(await claim(queue, 150));
    await place.elapse(10);
    expect(await queue.purge({ olderThanMs: 1, limit: 1000 })).toBe(200);
    await queue.nextDueInMs();
    expect(await place.keysOf("*")).toEqual(left);
  });

  it("go back with their task when its worker died, and stay whole over its last attempt", async () => {
    await using place = await setUp();
    const { queue } = place;
    await queue.enqueue(tasksOf(200, { maxAttempts: 2, keepCompleted: false }));
    for (const attempt of [1, 2]) {
      const claimed = await claim(queue, 200);
      expect(claimed.map((task) => task.payload)).toEqual(tasksOf(200).map(({ payload }) => payload));
      expect(new Set(claimed.map((task) => task.attempt))).toEqual(new Set([attempt]));
      await place.elapse(1001);
      expect(await queue.recoverLapsed({ limit: 200 })).toHaveLength(200);
    }
    const dead = await queue.list({ states: ["dead"], limit: 200 });
    expect(dead.map(({ payload }) => payload)).toEqual(tasksOf(200).map(({ payload }) => payload));
    expect(await place.pieces()).toBe(0);
  });

  it("put their tasks into dead letter when they are lost, and no other's", async () => {
    await using place = await setUp();
    const { queue } = place;
    await queue.enqueue(tasksOf(100, { type: "a" }));
    await place.damage();
    await queue.enqueue(tasksOf(100, { type: "b" }));
    const claimed = await claim(queue, 300);
    expect(claimed.map(({ payload }) => payload)).toEqual(tasksOf(100).map(({ payload }) => payload));
    expect(await queue.stats()).toMatchObject({ dead: 100, claimed: 100, total: 200 });
    expect(await queue.list({ states: ["dead"], limit: 1 })).toMatchObject([
      { type: "a", payload: "", failures: [{ error: { code: "DAMAGED" } }] },
    ]);
  });

  it("wake who waits for tasks", async () => {
    await using place = await setUp();
    const { queue } = place;
    await using elsewhere = await createRedisStore({
      redis: shared.redis,
      namespace: `payloads-${namespaceCount}`,
    });
    let wakeCount = 0;
    const stop = elsewhere.queue("q").onAvailable(() => {
      wakeCount += 1;
    });
    await vi.waitFor(async () => {
      await queue.enqueue(tasksOf(100));
      expect(wakeCount).toBeGreaterThan(1);
    });
    stop();
  });
});
