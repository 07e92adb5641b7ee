import { createMemoryStore } from "@holdfast/coordination/memory";
import { createRedisStore, type FastStore } from "@holdfast/coordination/redis";
import { VirtualClock } from "@holdfast/kernel/testing";
import { describeService } from "@holdfast/testkit/vitest";
import fc from "fast-check";
import { expect, it } from "vitest";
import type { ClaimedTask, NewTask, QueueStats, TaskPriority, TaskQueue } from "../src/queue/task-queue.ts";
import { suiteRedis } from "./suite-redis.ts";

/** What is done to a queue. Tasks are known by the number that is their payload: each store makes ids of its own. */
type Step =
  | {
      readonly kind: "add";
      readonly count: number;
      readonly more: Partial<NewTask> & { readonly type: string };
    }
  | {
      readonly kind: "claim";
      readonly count: number;
      readonly types: readonly string[] | undefined;
      readonly priorities: readonly TaskPriority[] | undefined;
    }
  | { readonly kind: "end"; readonly failEvery: number }
  | { readonly kind: "limit"; readonly keyConcurrency: number };

const type = fc.constantFrom("t", "u");
const priority = fc.constantFrom<TaskPriority>("normal", "high");
const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.record({
      kind: fc.constant("add" as const),
      // A page has room for 1,296.
      count: fc.oneof(fc.integer({ min: 1, max: 5 }), fc.integer({ min: 6, max: 1_500 })),
      more: fc.record(
        {
          type,
          priority,
          limitKey: fc.constantFrom("k", "l"),
          delayMs: fc.constant(3_600_000),
          keepCompleted: fc.boolean(),
        },
        { requiredKeys: ["type"] },
      ),
    }),
  },
  {
    weight: 6,
    arbitrary: fc.record({
      kind: fc.constant("claim" as const),
      count: fc.oneof(fc.integer({ min: 1, max: 5 }), fc.integer({ min: 6, max: 2_000 })),
      types: fc.constantFrom(undefined, undefined, ["t"], ["u", "t"]),
      priorities: fc.constantFrom<readonly TaskPriority[] | undefined>(undefined, undefined, ["normal"]),
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({ kind: fc.constant("end" as const), failEvery: fc.integer({ min: 2, max: 9 }) }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      kind: fc.constant("limit" as const),
      keyConcurrency: fc.integer({ min: 0, max: 40 }),
    }),
  },
);

/** One of two queues that are to do the same. */
class Subject {
  readonly #queue: TaskQueue<never>;
  #held: readonly ClaimedTask[] = [];
  #count = 0;

  constructor(queue: TaskQueue<never>) {
    this.#queue = queue;
  }

  /** What can be seen of a step. */
  async take(given: Step): Promise<unknown> {
    const queue = this.#queue;
    switch (given.kind) {
      case "add": {
        const tasks = Array.from({ length: given.count }, (_, index) => ({
          ...given.more,
          payload: this.#count + index,
        }));
        this.#count += given.count;
        return (await queue.enqueue(tasks)).length;
      }
      case "claim": {
        const { types, priorities } = given;
        const claimed = await queue.claim({
          worker: "w",
          maxCount: given.count,
          leaseMs: 3_600_000,
          ...(types && { types }),
          ...(priorities && { priorities }),
        });
        this.#held = [...this.#held, ...claimed];
        return claimed.map(({ payload, attempt }) => [payload, attempt]);
      }
      case "end": {
        const failed = this.#held.filter((_, index) => index % given.failEvery === 0);
        const completed = this.#held.filter((_, index) => index % given.failEvery !== 0);
        this.#held = [];
        const results = await queue.fail(
          failed.map(({ id, token }) => ({ id, token, error: "no", retryDelayMs: 0 })),
        );
        return [results.map(({ outcome }) => outcome), await queue.complete(completed)];
      }
      case "limit":
        await queue.setLimits(
          given.keyConcurrency === 0 ? undefined : { perKey: { concurrency: given.keyConcurrency } },
        );
        return undefined;
    }
  }

  async stats(): Promise<Partial<QueueStats>> {
    const { pending, delayed, claimed, completed, dead, retrying, total } = await this.#queue.stats();
    return { pending, delayed, claimed, completed, dead, retrying, total };
  }

  async payloads(): Promise<readonly unknown[]> {
    const payloads: unknown[] = [];
    let afterId: string | undefined;
    for (;;) {
      const page = await this.#queue.list({ limit: 1_000, ...(afterId !== undefined && { afterId }) });
      payloads.push(...page.map(({ payload }) => payload));
      afterId = page.at(-1)?.id;
      if (afterId === undefined) return payloads.sort((one, other) => Number(one) - Number(other));
    }
  }
}

describeService("redis", "tasks that wait as spans", () => {
  const shared = suiteRedis();
  let namespaceCount = 0;
  const fresh = async (): Promise<{ readonly store: FastStore; keyOf(part: string): string }> => {
    namespaceCount += 1;
    const namespace = `spans-${namespaceCount}`;
    const keyOf = (part: string): string => `{${namespace}:queue:q}:${part}`;
    return { store: await createRedisStore({ redis: shared.redis, namespace }), keyOf };
  };
  const claim = (queue: TaskQueue<never>, maxCount: number) =>
    queue.claim({ worker: "w", maxCount, leaseMs: 60_000 });
  const tasks = (count: number): readonly NewTask[] =>
    Array.from({ length: count }, (_, index) => ({ type: "t", payload: index, keepCompleted: false }));

  it(
    "come out as from a queue that keeps each task by itself, whatever is added, claimed, limited and failed",
    { timeout: 120_000 },
    async () => {
      await fc.assert(
        fc.asyncProperty(fc.array(step, { minLength: 5, maxLength: 25 }), async (steps) => {
          const clock = new VirtualClock();
          await using model = createMemoryStore({ clock });
          await using redis = (await fresh()).store;
          const one = new Subject(model.queue("q") as TaskQueue<never>);
          const other = new Subject(redis.queue("q"));
          for (const given of steps) {
            expect(await other.take(given)).toEqual(await one.take(given));
            expect(await other.stats()).toEqual(await one.stats());
            await clock.advance(1);
          }
          expect(await other.payloads()).toEqual(await one.payloads());
        }),
        { seed: 7, numRuns: 25 },
      );
    },
  );

  it("take one place in line for all of a page, and leave nothing behind when they have run", async () => {
    const { store, keyOf } = await fresh();
    await using _ = store;
    const queue = store.queue("q");
    await queue.enqueue(tasks(1_000));
    expect(await shared.server.command("ZCARD", keyOf("r:1:t"))).toBeLessThanOrEqual(2);
    await queue.complete(await claim(queue, 999));
    expect(await queue.stats()).toMatchObject({ pending: 1, delayed: 0, claimed: 0 });
    await queue.complete(await claim(queue, 999));
    await queue.nextDueInMs();
    const keys = (await shared.server.command("KEYS", keyOf("*"))) as string[];
    expect(keys.sort()).toEqual([keyOf("seq"), keyOf("token")]);
  });

  it("are passed over where their body was evicted, in their middle and whole", async () => {
    const { store, keyOf } = await fresh();
    await using _ = store;
    const queue = store.queue("q");
    const ids = await queue.enqueue(tasks(10));
    const pageOf = (id: string): string => keyOf(`t:${id.slice(5, 27)}`);
    for (const id of ids.slice(2, 5)) await shared.server.command("HDEL", pageOf(id), id);
    const claimed = [...(await claim(queue, 3)), ...(await claim(queue, 9))];
    expect(claimed.map(({ id }) => id)).toEqual([...ids.slice(0, 2), ...ids.slice(5)]);
    const [gone = ""] = await queue.enqueue(tasks(10));
    await shared.server.command("DEL", pageOf(gone));
    expect(await claim(queue, 3)).toEqual([]);
    expect(await queue.stats()).toMatchObject({ pending: 0, delayed: 0, claimed: 7 });
  });
});
