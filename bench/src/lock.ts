import { Locks } from "@holdfast/coordination";
import { createRedisStore, type RedisClient } from "@holdfast/coordination/redis";
import { startRedis } from "@holdfast/testkit";
import { Redis } from "ioredis";
import { createClient } from "redis";
import Redlock from "redlock";
import type { Bench, BenchResult } from "./measure/bench-result.ts";
import { interleaved } from "./measure/interleaved.ts";

const REDLOCK = "redlock@5.0.0-beta.2";
const TTL_MS = 10_000;
const CLIENT_COUNT = 4;
const HAND_OFF_COUNT = 40;

/** node-redis in the shape that the store wants. */
const openRedis = async (url: string): Promise<RedisClient & AsyncDisposable> => {
  const connection = createClient({ url });
  await connection.connect();
  return {
    async runScript({ sha1, text }, keys, args) {
      const call = { keys: [...keys], arguments: [...args] };
      try {
        return await connection.evalSha(sha1, call);
      } catch (error) {
        if (!(error instanceof Error) || !error.message.startsWith("NOSCRIPT")) throw error;
        return connection.eval(text, call);
      }
    },
    async subscribe(channel, onMessage) {
      const subscriber = connection.duplicate();
      await subscriber.connect();
      await subscriber.subscribe(channel, (message: string) => onMessage(message));
      return { [Symbol.asyncDispose]: async () => subscriber.destroy() };
    },
    [Symbol.asyncDispose]: async () => connection.destroy(),
  };
};

/** A client of each kind with a connection of its own, as a process would have. */
const openClient = async (url: string, owner: string) => {
  const redis = await openRedis(url);
  const store = await createRedisStore({ redis });
  const locks = new Locks({ leases: store.leases, owner, ttlMs: TTL_MS });
  const ioredis = new Redis(url);
  // The best that redlock offers a waiter: it asks again at short intervals, without end.
  const redlock = new Redlock([ioredis], { retryCount: -1, retryDelay: 10, retryJitter: 5 });
  return {
    locks,
    redlock,
    [Symbol.asyncDispose]: async () => {
      await locks.close();
      await store.close();
      await redis[Symbol.asyncDispose]();
      ioredis.disconnect();
    },
  };
};

type Client = Awaited<ReturnType<typeof openClient>>;
type Acquire = (client: Client) => Promise<{ release(): Promise<unknown> }>;

const acquireOurs: Acquire = ({ locks }) => locks.get("contended").acquire();
const acquireTheirs: Acquire = ({ redlock }) => redlock.acquire(["contended"], TTL_MS);

/** One lock passed on among all clients; how long it took from the call of a release to the next holder. */
const handOffs = async (clients: readonly Client[], acquire: Acquire, count: number): Promise<number[]> => {
  const samples: number[] = [];
  let releasedAt: number | undefined;
  let left = count;
  await Promise.all(
    clients.map(async (client) => {
      while (left > 0) {
        const lease = await acquire(client);
        if (releasedAt !== undefined) samples.push(performance.now() - releasedAt);
        left -= 1;
        // Held for a moment, so that everybody else is waiting by then.
        await new Promise((resolve) => setTimeout(resolve, 20));
        releasedAt = performance.now();
        await lease.release();
      }
    }),
  );
  return samples;
};

const median = (samples: readonly number[]): number => {
  const sorted = [...samples].sort((a, b) => a - b);
  return Number((sorted[sorted.length >> 1] ?? Number.NaN).toFixed(3));
};

const run = async (): Promise<readonly BenchResult[]> => {
  await using server = await startRedis();
  const clients: Client[] = [];
  try {
    for (let index = 0; index < CLIENT_COUNT; index += 1) {
      clients.push(await openClient(server.url, `client-${index}`));
    }
    const [first] = clients as [Client];
    const took = await interleaved(
      {
        ours: async (count) => {
          for (let n = 0; n < count; n += 1) await (await first.locks.get("free").acquire()).release();
        },
        redlock: async (count) => {
          for (let n = 0; n < count; n += 1) await (await first.redlock.acquire(["free"], TTL_MS)).release();
        },
      },
      { count: 1000 },
    );
    const ours: number[] = [];
    const theirs: number[] = [];
    for (let round = 0; round < 5; round += 1) {
      ours.push(...(await handOffs(clients, acquireOurs, HAND_OFF_COUNT)));
      theirs.push(...(await handOffs(clients, acquireTheirs, HAND_OFF_COUNT)));
    }
    return [
      {
        unit: "cycles/s",
        ours: Math.round(1e9 / took.ours),
        peers: { [REDLOCK]: Math.round(1e9 / took.redlock) },
        higherIsBetter: true,
        notes:
          "Acquire and release of a lock that nobody else wants, one after the other, on one Redis server. Median of " +
          "9 interleaved rounds of 1,000. Ours also draws a fence token and keeps the lease renewed.",
      },
      {
        unit: "ms (p50 hand-off)",
        ours: median(ours),
        peers: { [REDLOCK]: median(theirs) },
        higherIsBetter: false,
        notes:
          `${CLIENT_COUNT} clients, each with a connection of its own, pass one lock on: from the call of the release ` +
          "to the next holder. Ours are told of the release; the peer has no such thing, so it asks every 10 ms (its " +
          "default is 200 ms).",
      },
    ];
  } finally {
    for (const client of clients) await client[Symbol.asyncDispose]();
  }
};

const bench: Bench = {
  name: "lock",
  description: "How long does it take to take a lock, and to pass it on?",
  run,
};

export default bench;
