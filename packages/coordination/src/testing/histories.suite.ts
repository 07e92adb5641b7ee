import { type Random, randomInt, seededRandom } from "@holdfast/kernel";
import { describe, expect, it } from "vitest";
import type { ClaimedTask, TaskQueue } from "../queue/task-queue.ts";
import type { CoordinationHarness, SetUp } from "./harness.ts";

const SEEDS = [1, 2, 3, 4, 5, 6];
const TASK_COUNT = 60;
const WORKER_COUNT = 6;
const LEASE_MS = 1000;
/** Far above what any history needs: a run that reaches it has lost a task. */
const ROUNDS_MAX = 2000;

/** What the test saw of one task, from outside. */
interface Seen {
  readonly tokens: bigint[];
  completedCount: number;
}

interface History<Tx> {
  readonly harness: CoordinationHarness<Tx>;
  readonly queue: TaskQueue<Tx>;
  readonly random: Random;
  readonly seen: Map<string, Seen>;
}

/** A worker that is hit by everything: it completes, fails, dawdles past its lease, dies, and answers late. */
const work = async <Tx>(history: History<Tx>, worker: string, rounds: () => boolean): Promise<void> => {
  const { harness, queue, random, seen } = history;
  const late: ClaimedTask[] = [];
  const complete = async (task: ClaimedTask): Promise<void> => {
    // The effect (a log entry) and the completion commit together, or neither does.
    await harness.store.transaction(async (tx) => {
      const [outcome] = await queue.complete([{ ...task, result: worker }], { tx });
      if (outcome === "stale") return;
      await harness.store.log.append([{ stream: "effects", payload: task.id }], { tx });
      const record = seen.get(task.id);
      if (record !== undefined) record.completedCount += 1;
    });
  };
  while (rounds()) {
    const claimed = await queue.claim({ worker, maxCount: 1 + randomInt(random, 4), leaseMs: LEASE_MS });
    for (const task of claimed) {
      seen.get(task.id)?.tokens.push(task.token);
      const dice = random.next();
      if (dice < 0.45) await complete(task);
      else if (dice < 0.65)
        await queue.fail([{ ...task, error: "dice", retryDelayMs: randomInt(random, 300) }]);
      else if (dice < 0.75) await queue.renew([task], { leaseMs: LEASE_MS });
      else late.push(task);
    }
    await harness.elapse(randomInt(random, 150));
    if (random.next() < 0.4) await queue.recoverLapsed({ limit: 10 });
    const overdue = late.shift();
    if (overdue !== undefined && random.next() < 0.7) await complete(overdue);
  }
};

/** What must hold after any history of claims, lapses, failures and completions. */
export const historiesSuite = <Tx>(setUp: SetUp<Tx>): void => {
  describe("histories", () => {
    it.each(SEEDS)("lose no task, complete none twice and only grow tokens (seed %i)", async (seed) => {
      await using harness = await setUp();
      const queue = harness.store.queue("history");
      const history: History<Tx> = { harness, queue, random: seededRandom(seed), seen: new Map() };
      for (let index = 0; index < TASK_COUNT; index += 1) {
        history.seen.set(`t${index}`, { tokens: [], completedCount: 0 });
      }
      await queue.enqueue(
        [...history.seen.keys()].map((id) => ({ id, type: "t", payload: id, maxAttempts: 5, group: "g" })),
      );
      let roundCount = 0;
      let isDone = false;
      const rounds = (): boolean => {
        roundCount += 1;
        if (roundCount > ROUNDS_MAX)
          throw new Error(`seed ${seed}: tasks are left after ${ROUNDS_MAX} rounds`);
        return !isDone;
      };
      const watch = async (): Promise<void> => {
        while (rounds()) {
          const stats = await queue.stats();
          expect(stats.total).toBe(TASK_COUNT);
          isDone = stats.completed + stats.dead === TASK_COUNT;
          await harness.elapse(20);
        }
      };
      await Promise.all([
        watch(),
        ...Array.from({ length: WORKER_COUNT }, (_, index) => work(history, `w${index}`, rounds)),
      ]);

      const records = await queue.list({ group: "g" });
      const effects = await harness.store.log.read("effects", { limit: 10_000 });
      if (effects.kind === "reset") throw new Error("the effects were trimmed");
      const effectIds = effects.entries.map(({ payload }) => payload);
      const completed = records.filter(({ state }) => state === "completed").map(({ id }) => id);
      expect([...effectIds].sort()).toEqual([...completed].sort());
      for (const { id, state, attempt, failures } of records) {
        const { tokens, completedCount } = history.seen.get(id) as Seen;
        expect(completedCount).toBe(state === "completed" ? 1 : 0);
        // Two workers may hear of their claims in the other order, so the claims are compared as a set.
        expect(new Set(tokens).size).toBe(tokens.length);
        expect(tokens).toHaveLength(attempt);
        if (state === "dead") expect(failures.at(-1)?.attempt).toBe(5);
      }
    });

    it.each(
      SEEDS,
    )("let cancelling and finishing race without deadlock or double effect (seed %i)", async (seed) => {
      await using harness = await setUp();
      const queue = harness.store.queue("race");
      const random = seededRandom(seed);
      const groups = ["a", "b", "c"];
      await queue.enqueue(
        Array.from({ length: 60 }, (_, index) => ({
          id: `t${String(randomInt(random, 1_000_000)).padStart(6, "0")}-${index}`,
          type: "t",
          payload: index,
          group: groups[index % 3] as string,
        })),
      );
      const claims = await queue.claim({ worker: "w", maxCount: 60, leaseMs: LEASE_MS });
      const shuffled = [...claims].sort(() => random.next() - 0.5);
      const [completions, failures] = await Promise.all([
        Promise.all([0, 1, 2].map((part) => queue.complete(shuffled.slice(part * 20, part * 20 + 15)))),
        Promise.all(
          [0, 1, 2].map((part) =>
            queue.fail(
              shuffled
                .slice(part * 20 + 15, part * 20 + 20)
                .map((task) => ({ ...task, error: 1, retry: false })),
            ),
          ),
        ),
        queue.cancelGroups(["c", "a"]),
        queue.cancelGroups(["b"]),
        queue.renew(shuffled, { leaseMs: LEASE_MS }),
      ]);
      const stats = await queue.stats();
      expect(stats.completed).toBe(completions.flat().filter((outcome) => outcome === "completed").length);
      expect(stats.dead).toBe(failures.flat().filter(({ outcome }) => outcome === "dead").length);
      expect(stats.completed + stats.dead + stats.cancelled).toBe(60);
    });

    it.each(SEEDS)("grant a lease to one at a time, with growing tokens (seed %i)", async (seed) => {
      await using harness = await setUp();
      const { leases } = harness.store;
      const random = seededRandom(seed);
      const granted: { owner: string; token: bigint }[] = [];
      let holder: string | undefined;
      const contend = async (owner: string): Promise<void> => {
        for (let round = 0; round < 30; round += 1) {
          const outcome = await leases.grant("one", { owner, ttlMs: 86_400_000 });
          if (outcome.kind === "held") continue;
          expect(holder).toBeUndefined();
          holder = owner;
          granted.push({ owner, token: outcome.grant.token });
          if (random.next() < 0.5) await leases.renew([outcome.grant], { ttlMs: 86_400_000 });
          holder = undefined;
          expect(await leases.release(outcome.grant)).toBe(true);
        }
      };
      await Promise.all(Array.from({ length: 5 }, (_, index) => contend(`o${index}`)));
      const tokens = granted.map(({ token }) => token);
      expect(tokens).toEqual([...tokens].sort((x, y) => (x < y ? -1 : 1)));
      expect(new Set(tokens).size).toBe(tokens.length);
    });
  });
};
