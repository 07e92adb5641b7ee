import { StateReplica } from "@holdfast/coordination";
import { createRedisStore } from "@holdfast/coordination/redis";
import { startRedis } from "@holdfast/testkit";
import { Redis } from "ioredis";
import { clientOf } from "./coordination/ioredis-client.ts";
import type { Bench, BenchResult } from "./measure/bench-result.ts";
import { interleaved } from "./measure/interleaved.ts";

const BY_HAND = "ioredis@5.11.1 (HINCRBY + PUBLISH)";
const SAMPLE_COUNT = 1500;

/**
 * What people write by hand: a hash, a publish with each change, and a map in each process that the subscriber fills.
 * Commands that are under way together travel together (auto-pipelining).
 */
const openByHand = async (url: string) => {
  const writer = new Redis(url, { enableAutoPipelining: true });
  const subscriber = new Redis(url);
  const cache = new Map<string, string>();
  const listeners = new Set<() => void>();
  await subscriber.subscribe("state");
  subscriber.on("message", (_channel, message: string) => {
    const { key, value } = JSON.parse(message) as { readonly key: string; readonly value: string };
    cache.set(key, value);
    for (const each of listeners) each();
  });
  return {
    cache,
    listeners,
    set: (key: string, value: string) =>
      Promise.all([
        writer.hset("state", key, value),
        writer.publish("state", JSON.stringify({ key, value })),
      ]),
    increment: async (key: string) => {
      const value = await writer.hincrby("counters", key, 1);
      await writer.publish("state", JSON.stringify({ key, value: `${value}` }));
      return value;
    },
    [Symbol.asyncDispose]: async () => {
      writer.disconnect();
      subscriber.disconnect();
    },
  };
};

const p99 = (samples: readonly number[]): number => {
  const sorted = [...samples].sort((a, b) => a - b);
  return Number((sorted[Math.ceil(0.99 * sorted.length) - 1] ?? Number.NaN).toFixed(3));
};

/** So many calls in flight until all were answered. */
const inFlight = async (count: number, width: number, call: () => Promise<unknown>): Promise<void> => {
  let left = count;
  const lane = async (): Promise<void> => {
    while (left > 0) {
      left -= 1;
      await call();
    }
  };
  await Promise.all(Array.from({ length: width }, lane));
};

const run = async (): Promise<readonly BenchResult[]> => {
  await using server = await startRedis();
  const open = async () => {
    const redis = new Redis(server.url);
    const store = await createRedisStore({ redis: clientOf(redis) });
    const replica = new StateReplica({ states: store.states });
    await replica.start();
    return {
      replica,
      [Symbol.asyncDispose]: async () => {
        await replica.stop();
        await store.close();
        redis.disconnect();
      },
    };
  };
  await using writer = await open();
  await using reader = await open();
  await using theirWriter = await openByHand(server.url);
  await using theirReader = await openByHand(server.url);

  let arrived: (() => void) | undefined;
  reader.replica.onUpdate(() => arrived?.());
  theirReader.listeners.add(() => arrived?.());
  const visible = async (set: () => Promise<unknown>): Promise<number> => {
    const seen = new Promise<void>((resolve) => {
      arrived = resolve;
    });
    const startedAt = performance.now();
    const answered = set();
    await seen;
    const took = performance.now() - startedAt;
    await answered;
    return took;
  };
  const samples = { ours: [] as number[], theirs: [] as number[] };
  for (let n = 0; n < SAMPLE_COUNT + 100; n += 1) {
    const ours = await visible(() => writer.replica.set(`k${n % 100}`, `value ${n}`));
    const theirs = await visible(() => theirWriter.set(`k${n % 100}`, `value ${n}`));
    if (n < 100) continue;
    samples.ours.push(ours);
    samples.theirs.push(theirs);
  }
  const took = await interleaved(
    {
      ours: (count) => inFlight(count, 200, () => writer.replica.increment("n")),
      theirs: (count) => inFlight(count, 200, () => theirWriter.increment("n")),
    },
    { count: 10_000 },
  );
  return [
    {
      unit: "ms (p99 visible)",
      ours: p99(samples.ours),
      peers: { [BY_HAND]: p99(samples.theirs) },
      higherIsBetter: false,
      notes:
        "From the call of a set to its being seen in the cache of another instance, over one Redis server, taking " +
        `turns, ${SAMPLE_COUNT} times. Ours announces and then reads the change from a log, so that none is missed, ` +
        "repeated or out of order; the peer sends the value along, and a lost connection loses it for good.",
    },
    {
      unit: "increments/s",
      ours: Math.round(1e9 / took.ours),
      peers: { [BY_HAND]: Math.round(1e9 / took.theirs) },
      higherIsBetter: true,
      notes:
        "200 in flight from one instance while two follow. Median of 9 interleaved rounds of 10,000. Ours writes value, " +
        "revision and log entry in one step and sends what came together as one call; the peer increments, waits for " +
        "the sum and publishes it, pipelined by its client, and keeps neither revision nor history.",
    },
  ];
};

const bench: Bench = {
  name: "state-sync",
  description: "How soon does another instance see a change, and how many increments a second are there?",
  run,
};

export default bench;
