import { createPostgresStore } from "@holdfast/coordination/postgres";
import { openPostgres } from "@holdfast/data";
import { startPostgres } from "@holdfast/testkit";
import type { Bench, BenchResult } from "./measure/bench-result.ts";
import { graphileQueue } from "./queue/graphile.ts";
import { ourQueue } from "./queue/our-queue.ts";
import { LARGE, SMALL } from "./queue/payloads.ts";
import { pgBossQueue } from "./queue/pg-boss.ts";
import { compareQueues } from "./queue/queue-peer.ts";
import { resultsOf } from "./queue/queue-results.ts";

const GRAPHILE = "graphile-worker@0.17.3";
const PG_BOSS = "pg-boss@12.30.0";

/** Enough for half a second of work: how a worker starts, and one flush more or less, would show in fewer. */
const COUNT = 20_000;
const ROUNDS = 5;

const CONDITIONS =
  "PostgreSQL that flushes every commit, worker and caller in one process, no-op handlers, completed tasks deleted, " +
  "added by 1,000 in a call. Ours and graphile-worker run 100 at a time; ours fetches up to 1,900 ahead, " +
  "graphile-worker has a local queue of 500 and completes in batches without delay; pg-boss is fetched from and " +
  "completed in batches of 500 by four loops, which is faster than its workers, and keeps what is completed until the " +
  "round is over. A figure counts until the store holds none that is open. " +
  `Median of ${ROUNDS} interleaved rounds of ${COUNT}.`;

const run = async (): Promise<readonly BenchResult[]> => {
  await using server = await startPostgres({ settings: { fsync: true, shared_buffers: "128MB" } });
  await using sql = await openPostgres({ url: await server.createDatabase("ours") });
  await using store = await createPostgresStore({ sql });
  await using graphile = await graphileQueue(await server.createDatabase("graphile"));
  await using pgBoss = await pgBossQueue(await server.createDatabase("pg_boss"));
  const peers = {
    ours: ourQueue(store.queue("bench"), async () => undefined),
    [GRAPHILE]: graphile,
    [PG_BOSS]: pgBoss,
  };
  return [
    ...resultsOf(
      "2 KiB",
      await compareQueues(peers, { count: COUNT, payload: LARGE, rounds: ROUNDS }),
      CONDITIONS,
    ),
    ...resultsOf(
      "20 bytes",
      await compareQueues(peers, { count: COUNT, payload: SMALL, rounds: ROUNDS }),
      CONDITIONS,
    ),
  ];
};

const bench: Bench = {
  name: "queue-postgres",
  description: "How many no-op tasks a second go through a queue in PostgreSQL?",
  // pg-boss asks for it; then all of them run on it.
  nodeMajor: 22,
  run,
};

export default bench;
