import { createPostgresStore } from "@holdfast/coordination/postgres";
import { createRedisStore } from "@holdfast/coordination/redis";
import { openPostgres, openRedis } from "@holdfast/data";
import { startPostgres, startRedis } from "@holdfast/testkit";
import type { Bench, BenchResult } from "./measure/bench-result.ts";
import { bullmqQueue } from "./queue/bullmq.ts";
import { graphileQueue } from "./queue/graphile.ts";
import { ourQueue } from "./queue/our-queue.ts";
import { SMALL } from "./queue/payloads.ts";
import type { QueuePeer } from "./queue/queue-peer.ts";

/** Enough that fifteen of them lie above the p99: with 300 it is decided by three. */
const SAMPLES = 1_500;
/** Both are compiled by then. */
const WARM_UP = 300;

/** Milliseconds from asking to enqueue until the handler begins, one task after the other on an idle queue. */
const latencies = async (peers: Readonly<Record<string, QueuePeer>>): Promise<Record<string, number[]>> => {
  const samples: Record<string, number[]> = {};
  const begin: Record<string, () => void> = {};
  const workers: AsyncDisposable[] = [];
  for (const [name, peer] of Object.entries(peers)) {
    samples[name] = [];
    workers.push(await peer.start(() => begin[name]?.()));
  }
  for (let index = -WARM_UP; index < SAMPLES; index += 1) {
    for (const [name, peer] of Object.entries(peers)) {
      const begun = new Promise<number>((resolve) => {
        begin[name] = () => resolve(performance.now());
      });
      const startedAt = performance.now();
      await peer.addOne(SMALL);
      const tookMs = (await begun) - startedAt;
      if (index >= 0) samples[name]?.push(tookMs);
      // Its completion is stored, and it waits again.
      while ((await peer.remaining()) > 0) await new Promise((resolve) => setTimeout(resolve, 1));
      await new Promise((resolve) => setTimeout(resolve, 3));
    }
  }
  for (const worker of workers) await worker[Symbol.asyncDispose]();
  return samples;
};

const percentile = (samples: readonly number[], share: number): number => {
  const sorted = [...samples].sort((a, b) => a - b);
  return Number(
    (sorted[Math.min(sorted.length - 1, Math.ceil(share * sorted.length) - 1)] ?? Number.NaN).toFixed(2),
  );
};

const resultOf = (
  unit: string,
  share: number,
  samples: Readonly<Record<string, readonly number[]>>,
  notes: string,
): BenchResult => {
  const { ours = Number.NaN, ...peers } = Object.fromEntries(
    Object.entries(samples).map(([name, values]) => [name, percentile(values, share)]),
  );
  return { unit, ours, peers, higherIsBetter: false, notes };
};

const CONDITIONS =
  `One task at a time on an idle queue, from the call that enqueues it to the first line of its handler, ${SAMPLES} ` +
  "samples of each in turns; caller and worker in one process. ";

const run = async (): Promise<readonly BenchResult[]> => {
  await using postgres = await startPostgres({ settings: { fsync: true, shared_buffers: "128MB" } });
  await using server = await startRedis();
  await using sql = await openPostgres({ url: await postgres.createDatabase("ours") });
  await using redis = openRedis({ url: server.url });
  await using onPostgres = await createPostgresStore({ sql });
  await using onRedis = await createRedisStore({ redis });
  const nothing = async (): Promise<void> => undefined;
  await using graphile = await graphileQueue(await postgres.createDatabase("graphile"));
  await using bullmq = await bullmqQueue(server.port);
  const inRedis = await latencies({
    ours: ourQueue(onRedis.queue("bench"), nothing),
    "bullmq@6.7.0": bullmq,
  });
  const inPostgres = await latencies({
    ours: ourQueue(onPostgres.queue("bench"), nothing),
    "graphile-worker@0.17.3": graphile,
  });
  const redisNotes = `${CONDITIONS}Redis without persistence.`;
  const postgresNotes = `${CONDITIONS}PostgreSQL flushes every commit. pg-boss polls, so its latency is its interval.`;
  return [
    resultOf("ms to start, p50, Redis", 0.5, inRedis, redisNotes),
    resultOf("ms to start, p99, Redis", 0.99, inRedis, redisNotes),
    resultOf("ms to start, p99, PostgreSQL", 0.99, inPostgres, postgresNotes),
    resultOf("ms to start, p50, PostgreSQL", 0.5, inPostgres, postgresNotes),
  ];
};

const bench: Bench = {
  name: "queue-latency",
  description: "How soon after it is enqueued does a task start on an idle queue?",
  run,
};

export default bench;
