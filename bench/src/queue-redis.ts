import { createRedisStore } from "@holdfast/coordination/redis";
import { openRedis } from "@holdfast/data";
import { startRedis } from "@holdfast/testkit";
import type { Bench, BenchResult } from "./measure/bench-result.ts";
import { bullmqQueue } from "./queue/bullmq.ts";
import { ourQueue } from "./queue/our-queue.ts";
import { LARGE, SMALL } from "./queue/payloads.ts";
import { compareQueues } from "./queue/queue-peer.ts";
import { resultsOf } from "./queue/queue-results.ts";

const BULLMQ = "bullmq@6.7.0";

const CONDITIONS =
  "Redis without persistence, worker and caller in one process, no-op handlers, 100 tasks at a time, completed tasks " +
  "deleted, added by 1,000 in a call. Ours fetches up to 1,900 tasks ahead; the peer takes one task per completion, " +
  "and addBulk is its best way to add. A figure counts until the store is empty. Median of 3 interleaved rounds. " +
  "Each claim of ours has a lease with a fence token, renewed while its task runs.";

const run = async (): Promise<readonly BenchResult[]> => {
  await using server = await startRedis();
  await using redis = openRedis({ url: server.url });
  await using store = await createRedisStore({ redis });
  await using bullmq = await bullmqQueue(server.port);
  const peers = { ours: ourQueue(store.queue("bench"), async () => undefined), [BULLMQ]: bullmq };
  return [
    ...resultsOf(
      "2 KiB",
      await compareQueues(peers, { count: 5_000, payload: LARGE, rounds: 3 }),
      CONDITIONS,
    ),
    ...resultsOf(
      "20 bytes",
      await compareQueues(peers, { count: 20_000, payload: SMALL, rounds: 3 }),
      CONDITIONS,
    ),
  ];
};

const bench: Bench = {
  name: "queue-redis",
  description: "How many no-op tasks a second go through a queue in Redis?",
  run,
};

export default bench;
