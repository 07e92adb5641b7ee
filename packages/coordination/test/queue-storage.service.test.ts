import type { SqlExecutor } from "@holdfast/coordination";
import { createPostgresStore } from "@holdfast/coordination/postgres";
import { type Clock, systemClock } from "@holdfast/kernel";
import { VirtualClock } from "@holdfast/kernel/testing";
import { startPostgres } from "@holdfast/testkit";
import { describeService } from "@holdfast/testkit/vitest";
import { expect, it, vi } from "vitest";
import { openPg } from "./pg-client.ts";

const ROUNDS = 20;
const COUNT = 1000;

/** How many entries of indexes were read so far, by what the session that answers has told. */
const readCount = async (
  sql: SqlExecutor,
  schema: string,
  ...indexes: readonly string[]
): Promise<number> => {
  await sql.query("SELECT pg_stat_force_next_flush()");
  const [row] = await sql.query<{ read: string }>(
    "SELECT sum(idx_tup_read) AS read FROM pg_stat_user_indexes WHERE schemaname = $1 AND indexrelname = ANY ($2::text[])",
    [schema, `{${indexes.join()}}`],
  );
  return Number(row?.read);
};

describeService("postgres", "a queue in PostgreSQL while another session holds an old snapshot", () => {
  it(
    "walks over no more dead entries per task than over living ones, and finds what came late",
    {
      timeout: 60_000,
    },
    async () => {
      await using server = await startPostgres();
      await using sql = openPg(server.url, 6);
      const schema = "snapshot";
      const clock = new VirtualClock();
      await using store = await createPostgresStore({ sql, schema, clock });
      const queue = store.queue("q");
      await sql.transaction(async (foreign) => {
        await foreign.query("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ");
        await foreign.query(`SELECT count(*) FROM "${schema}".tasks`);
        const order: unknown[] = [];
        for (let round = 0; round < ROUNDS; round += 1) {
          await queue.enqueue(
            Array.from({ length: COUNT }, (_, index) => ({
              type: "t",
              payload: round * COUNT + index,
              keepCompleted: false,
            })),
          );
          for (let part = 0; part < 4; part += 1) {
            const claimed = await queue.claim({ worker: "w", maxCount: COUNT / 4, leaseMs: 60_000 });
            order.push(...claimed.map(({ payload }) => payload));
            await queue.complete(claimed);
          }
        }
        expect(order).toEqual(Array.from({ length: ROUNDS * COUNT }, (_, index) => index));
        // Each claim from the beginning would have walked over all that was finished before: 800 000 entries in all.
        await vi.waitFor(
          async () =>
            expect(await readCount(sql, schema, "tasks_ready")).toBeGreaterThanOrEqual(ROUNDS * COUNT),
          10_000,
        );
        expect(await readCount(sql, schema, "tasks_ready")).toBeLessThan(2.5 * ROUNDS * COUNT);
      });

      // A transaction that was open while later tasks were claimed: its task is due before them all.
      await store.transaction(async (tx) => {
        await queue.enqueue([{ id: "late", type: "t", payload: 0 }], { tx });
        await queue.enqueue(
          Array.from({ length: 10 }, (_, index) => ({ id: `n${index}`, type: "t", payload: 1 })),
        );
        expect((await queue.claim({ worker: "w", maxCount: 5, leaseMs: 60_000 })).length).toBe(5);
      });
      const next = await queue.claim({ worker: "w", maxCount: 2, leaseMs: 60_000 });
      expect(next.map(({ id }) => id)).toEqual(["n5", "n6"]);
      await clock.advance(200);
      const then = await queue.claim({ worker: "w", maxCount: 2, leaseMs: 60_000 });
      expect(then.map(({ id }) => id)).toEqual(["late", "n7"]);
    },
  );

  it(
    "asks an empty queue for nothing at what a second of its tasks left behind, not all of them, and misses none",
    {
      timeout: 120_000,
    },
    async () => {
      await using server = await startPostgres();
      await using others = openPg(server.url, 2);
      // One session, so that what it has read can be asked for at once.
      await using sql = openPg(server.url, 1);
      const schema = "emptied";
      // To it everything takes ten times as long, as if ten times as much lay there.
      const clock: Clock = Object.create(systemClock, {
        monotonicNow: { value: () => 10 * systemClock.monotonicNow() },
      });
      await using store = await createPostgresStore({ sql, schema, clock });
      const queue = store.queue("q");
      const claim = (maxCount: number, leaseMs = 1_000) => queue.claim({ worker: "w", maxCount, leaseMs });
      const total = 300 * COUNT;
      await others.transaction(async (foreign) => {
        await foreign.query("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ");
        await foreign.query(`SELECT count(*) FROM "${schema}".tasks`);
        const tasks = Array.from({ length: COUNT }, () => ({ type: "t", payload: 0, keepCompleted: false }));
        for (let round = 0; round < total / COUNT; round += 1) {
          await queue.enqueue(tasks);
          await queue.complete(await claim(COUNT));
        }
        // When its lease is over, those of all that ran are over since long.
        const [last] = await queue.enqueue([{ type: "t", payload: 0, keepCompleted: false }]);
        await vi.waitFor(
          async () => expect((await claim(2, 5_000)).map(({ id }) => id)).toEqual([last]),
          10_000,
        );
        await vi.waitFor(
          async () => expect(await queue.recoverLapsed()).toMatchObject([{ id: last }]),
          20_000,
        );
        const before = await readCount(sql, schema, "tasks_ready", "tasks_claimed");
        for (let round = 0; round < 100; round += 1) {
          expect(await queue.recoverLapsed()).toEqual([]);
          const claimed = await claim(2);
          if (round === 0) expect(claimed.map(({ id }) => id)).toEqual([last]);
          else expect(claimed).toEqual([]);
          await queue.nextDueInMs();
          await queue.renew(claimed, { leaseMs: 600_000 });
        }
        const read = (await readCount(sql, schema, "tasks_ready", "tasks_claimed")) - before;

        // Each of the 300 statements would have walked over all of it: 90 million entries.
        expect(read).toBeLessThan(10 * total);

        // A transaction that was open meanwhile: its task is found by the next claim that looks back.
        await others.transaction(async (tx) => {
          await queue.enqueue([{ id: "late", type: "t", payload: 0 }], { tx });
          await queue.enqueue([{ id: "early", type: "t", payload: 0 }]);
          expect((await claim(1)).map(({ id }) => id)).toEqual(["early"]);
        });
        await vi.waitFor(async () => expect((await claim(1)).map(({ id }) => id)).toEqual(["late"]), 10_000);
      });
    },
  );
});
