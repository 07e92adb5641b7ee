import { createPostgresStore } from "@holdfast/coordination/postgres";
import { VirtualClock } from "@holdfast/kernel/testing";
import { startPostgres } from "@holdfast/testkit";
import { describeService } from "@holdfast/testkit/vitest";
import { expect, it, vi } from "vitest";
import { openPg } from "./pg-client.ts";

const ROUNDS = 20;
const COUNT = 1000;

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
      const readCount = async (): Promise<number> => {
        await sql.query("SELECT pg_stat_force_next_flush()");
        const [row] = await sql.query<{ read: string }>(
          "SELECT idx_tup_read AS read FROM pg_stat_user_indexes WHERE schemaname = $1 AND indexrelname = 'tasks_ready'",
          [schema],
        );
        return Number(row?.read);
      };
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
          async () => expect(await readCount()).toBeGreaterThanOrEqual(ROUNDS * COUNT),
          10_000,
        );
        expect(await readCount()).toBeLessThan(2.5 * ROUNDS * COUNT);
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
});
