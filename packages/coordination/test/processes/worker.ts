// A worker in a process of its own, to be killed at any moment: node … worker.ts <database url> <schema> <name>
import { ClaimKeeper, claimOrWait } from "@holdfast/coordination";
import { createPostgresStore } from "@holdfast/coordination/postgres";
import { systemClock } from "@holdfast/kernel";
import { openPg } from "../pg-client.ts";

const [url = "", schema = "", worker = ""] = process.argv.slice(2);
const leaseMs = 400;
const sql = openPg(url, 4);
const store = await createPostgresStore({ sql, schema });
const queue = store.queue("q");
const claims = new ClaimKeeper({ queue, leaseMs });

for (;;) {
  await queue.recoverLapsed();
  const { tasks, askedAt } = await claimOrWait(queue, {
    worker,
    maxCount: 5,
    leaseMs,
    waitMs: leaseMs,
    pollMs: 50,
    clock: systemClock,
  });
  for (const task of tasks) {
    const claim = claims.keep(task, { askedAt });
    await store
      .transaction(async (tx) => {
        await tx.query(`INSERT INTO "${schema}".effects (task, worker) VALUES ($1, $2)`, [task.id, worker]);
        const [outcome] = await queue.complete([{ ...task, result: worker }], { tx });
        if (outcome !== "completed") throw new Error("not ours any more");
      })
      .catch(() => undefined);
    claim.drop();
  }
}
