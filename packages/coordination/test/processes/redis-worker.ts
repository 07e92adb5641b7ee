// A worker on Redis in a process of its own, to be killed or stopped at any moment: node … redis-worker.ts <url> <name>
import { ClaimKeeper, claimOrWait } from "@holdfast/coordination";
import { createRedisStore } from "@holdfast/coordination/redis";
import { systemClock } from "@holdfast/kernel";
import { openRedis } from "../redis-client.ts";

const [url = "", worker = ""] = process.argv.slice(2);
const leaseMs = 400;
const redis = await openRedis(url);
const store = await createRedisStore({ redis });
const queue = store.queue("q");
const claims = new ClaimKeeper({ queue, leaseMs });

for (;;) {
  await queue.recoverLapsed();
  const options = { worker, maxCount: 5, leaseMs, waitMs: leaseMs, pollMs: 50, clock: systemClock };
  const { tasks, askedAt } = await claimOrWait(queue, options);
  const kept = tasks.map((task) => claims.keep(task, { askedAt }));
  // The log tells what was done: in which order, by whom, under which token.
  await store.log.append(
    tasks.map(({ id, token }) => ({ stream: "claims", payload: { id, token: token.toString(), worker } })),
  );
  const outcomes = await queue.complete(tasks.map((task) => ({ ...task, result: worker })));
  await store.log.append(
    tasks.map(({ id, token }, index) => ({
      stream: "ends",
      payload: { id, token: token.toString(), outcome: outcomes[index] as string },
    })),
  );
  for (const claim of kept) claim.drop();
}
