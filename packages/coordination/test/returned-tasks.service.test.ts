import type { ClaimedTask, SqlExecutor, TaskQueue } from "@holdfast/coordination";
import { createPostgresStore } from "@holdfast/coordination/postgres";
import { VirtualClock } from "@holdfast/kernel/testing";
import { startPostgres } from "@holdfast/testkit";
import { describeService } from "@holdfast/testkit/vitest";
import { expect, it, vi } from "vitest";
import { openPg } from "./pg-client.ts";
import { elapseInSql } from "./sql-elapse.ts";

describeService("postgres", "tasks that go back to their place", () => {
  it.each<[string, (queue: TaskQueue<SqlExecutor>, claimed: readonly ClaimedTask[]) => Promise<unknown>]>([
    ["of a dead worker, taken back by another process", (queue) => queue.recoverLapsed()],
    [
      "of a worker that stops and gives them back",
      (queue, claimed) =>
        queue.fail(claimed.map(({ id, token }) => ({ id, token, error: "stops", uncounted: true }))),
    ],
  ])("%s, come next everywhere, though claims remember where the last one ended", async (_, giveBack) => {
    await using server = await startPostgres();
    await using sql = openPg(server.url, 6);
    const schema = "returned";
    await using other = await createPostgresStore({ sql, schema });
    // Its clock stands still: by itself it would never look from the beginning again.
    await using store = await createPostgresStore({ sql, schema, clock: new VirtualClock() });
    const queue = store.queue("q");
    const next = async (maxCount: number): Promise<readonly string[]> =>
      (await queue.claim({ worker: "w", maxCount, leaseMs: 600_000 })).map(({ id }) => id);
    let wakeCount = 0;
    queue.onAvailable(() => {
      wakeCount += 1;
    });
    const woken = (count: number) => vi.waitFor(() => expect(wakeCount).toBe(count));
    await woken(1);
    const ids = Array.from({ length: 20 }, (_, index) => `t${`${index}`.padStart(2, "0")}`);
    await other.queue("q").enqueue(ids.map((id) => ({ id, type: "t", payload: 0 })));
    await woken(2);
    const gone = await other.queue("q").claim({ worker: "gone", maxCount: 5, leaseMs: 10_000 });
    expect(await next(5)).toEqual(ids.slice(5, 10));
    await elapseInSql(sql, schema, 10_001);
    expect(await next(2)).toEqual(ids.slice(10, 12));
    expect(await giveBack(other.queue("q"), gone)).toHaveLength(5);
    await woken(3);
    expect(await next(10)).toEqual([...ids.slice(0, 5), ...ids.slice(12, 17)]);
  });
});
